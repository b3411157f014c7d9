// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"
)

// profileTimeout bounds how long a manager takes for a profile, besides the time that it is to profile.
const profileTimeout = 30 * time.Second

// profilePerPod is how long the CPU is profiled for each pod of a burst: about as long as it is evicted.
const profilePerPod = 8 * time.Millisecond

// pprofArgs returns the manager's arguments that let it be profiled, and the address that it is profiled
// at. Both are empty if nobody wants profiles.
func (l *lab) pprofArgs() (args []string, address string, err error) {
	if l.profiles == "" {
		return nil, "", nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	address = listener.Addr().String()
	return []string{"--pprof-bind-address=" + address}, address, listener.Close()
}

// profile saves the profile of a manager's CPU during a burst, and of its heap at the end of it, until the function
// that it returns has returned. It does nothing if nobody wants profiles.
func (m *manager) profile(ctx context.Context, of fleetOptions) (wait func() error) {
	if m.pprof == "" {
		return func() error { return nil }
	}
	length := max(time.Second, (time.Duration(of.nodes*of.podsPerNode) * profilePerPod).Round(time.Second))
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, length+profileTimeout)
		defer cancel()
		done <- errors.Join(
			save(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", m.pprof, int(length.Seconds())), m.profilePath("cpu", of)),
			save(ctx, fmt.Sprintf("http://%s/debug/pprof/heap", m.pprof), m.profilePath("heap", of)),
		)
	}()
	return func() error { return <-done }
}

func (m *manager) profilePath(kind string, of fleetOptions) string {
	return filepath.Join(m.profiles, fmt.Sprintf("operator-%s-%s.pprof", of, kind))
}

// save saves what a URL answers.
func save(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, resp.Body)
	return errors.Join(err, file.Close())
}

// profileFloor saves the profile of this program's CPU, which evicts and observes, until the function that it
// returns is called. It does nothing if nobody wants profiles.
func (l *lab) profileFloor(of fleetOptions, width int) (stop func() error, err error) {
	if l.profiles == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(filepath.Join(l.profiles, fmt.Sprintf("floor-%s-%d-in-flight-cpu.pprof", of, width)))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}
