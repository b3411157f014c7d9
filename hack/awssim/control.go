// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// controlPath is where a process other than the simulator's own controls it. AWS's clients never use
// such a path. Bodies and answers are JSON, mistakes are answered with 400 and plain text.
//
//	GET    calls?service=&action=      -> [Call]
//	DELETE calls
//	POST   faults            Fault     -> {"id"}
//	DELETE faults?id=                  all of them without an id
//	POST   notices?queueURL= Notice    -> {"messageID"}
//	POST   advance           {"seconds"}
//	POST   instances         Instance
//	POST   hooks             LifecycleHook
//	POST   roles             Role
//	GET    lifecycle-actions           -> [LifecycleAction]
const controlPath = "/_awssim/"

func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+controlPath+"calls", func(w http.ResponseWriter, r *http.Request) {
		found := s.Calls(r.FormValue("service"), r.FormValue("action"))
		reply(w, append([]Call{}, found...), nil)
	})
	mux.HandleFunc("DELETE "+controlPath+"calls", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearCalls()
		reply(w, struct{}{}, nil)
	})
	mux.HandleFunc("DELETE "+controlPath+"faults", s.deleteFaults)
	mux.HandleFunc("GET "+controlPath+"lifecycle-actions", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, s.LifecycleActions(), nil)
	})
	mux.HandleFunc("POST "+controlPath+"faults", post(func(_ *http.Request, f Fault) (any, error) {
		id, err := s.AddFault(f)
		return map[string]int{"id": id}, err
	}))
	mux.HandleFunc("POST "+controlPath+"notices", post(func(r *http.Request, n Notice) (any, error) {
		id, err := s.Send(r.URL.Query().Get("queueURL"), n)
		return map[string]string{"messageID": id}, err
	}))
	mux.HandleFunc("POST "+controlPath+"advance", post(func(_ *http.Request, in struct{ Seconds int }) (any, error) {
		s.Advance(time.Duration(in.Seconds) * time.Second)
		return struct{}{}, nil
	}))
	mux.HandleFunc("POST "+controlPath+"instances", post(func(_ *http.Request, i Instance) (any, error) {
		return struct{}{}, s.PutInstance(i)
	}))
	mux.HandleFunc("POST "+controlPath+"hooks", post(func(_ *http.Request, h LifecycleHook) (any, error) {
		return struct{}{}, s.PutLifecycleHook(h)
	}))
	mux.HandleFunc("POST "+controlPath+"roles", post(func(_ *http.Request, r Role) (any, error) {
		return struct{}{}, s.PutRole(r)
	}))
	return mux
}

func (s *Server) deleteFaults(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("id") {
		s.ClearFaults()
		reply(w, struct{}{}, nil)
		return
	}
	id, err := strconv.Atoi(r.URL.Query().Get("id"))
	if err == nil {
		s.ClearFault(id)
	}
	reply(w, struct{}{}, err)
}

// post returns a handler that decodes its body and encodes what f returns.
func post[T any](f func(*http.Request, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			reply(w, nil, err)
			return
		}
		out, err := f(r, in)
		reply(w, out, err)
	}
}

func reply(w http.ResponseWriter, out any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // fails only if the client has gone
}
