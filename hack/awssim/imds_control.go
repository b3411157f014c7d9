// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"net/http"
	"time"
)

// controlRoutes returns the routes by which another process controls a metadata service, on its own port like
// Server.controlHandler.
//
//	POST   events    MetadataEvent
//	POST   access    {"access"}
//	POST   faults    MetadataFault
//	DELETE faults    all of them
//	POST   advance   {"seconds"}
//	GET    requests?path=      -> {"requests"}
func (m *Metadata) controlRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+controlPath+"events", post(func(_ *http.Request, e MetadataEvent) (any, error) {
		return struct{}{}, m.Say(e)
	}))
	mux.HandleFunc("POST "+controlPath+"access", post(func(_ *http.Request, in struct{ Access Access }) (any, error) {
		return struct{}{}, m.SetAccess(in.Access)
	}))
	mux.HandleFunc("POST "+controlPath+"faults", post(func(_ *http.Request, f MetadataFault) (any, error) {
		return struct{}{}, m.AddFault(f)
	}))
	mux.HandleFunc("DELETE "+controlPath+"faults", func(w http.ResponseWriter, _ *http.Request) {
		m.ClearFaults()
		reply(w, struct{}{}, nil)
	})
	mux.HandleFunc("POST "+controlPath+"advance", post(func(_ *http.Request, in struct{ Seconds int }) (any, error) {
		m.Advance(time.Duration(in.Seconds) * time.Second)
		return struct{}{}, nil
	}))
	mux.HandleFunc("GET "+controlPath+"requests", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]int{"requests": m.Requests(r.FormValue("path"))}, nil)
	})
	return mux
}
