package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/herald-lb/herald/pkg/announce/agent"
)

// someAgent has a fixed state.
type someAgent struct{ unready error }

func (someAgent) Status() agent.Status     { return agent.Status{Node: "n1"} }
func (someAgent) Health(_ time.Time) error { return nil }
func (a someAgent) Readiness() error       { return a.unready }

// freePort returns a port that nobody listened on a moment ago.
func freePort(t *testing.T) uint16 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		r, err := client.Get(url)
		if err != nil && time.Since(began) < 5*time.Second { // it is not listening yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
}

func TestHTTP(t *testing.T) {
	defer goleak.VerifyNone(t)
	port := freePort(t)
	s := newHTTPServer(netip.MustParseAddr("127.0.0.2"), port, someAgent{errors.New("waiting for the API server")}, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for _, c := range []struct {
		host, path string
		code       int
		body       string
	}{
		{"127.0.0.1", "/healthz", 200, "ok"},
		{"127.0.0.2", "/healthz", 200, "ok"},
		{"127.0.0.2", "/readyz", 503, "waiting for the API server"},
		{"127.0.0.2", "/metrics", 200, ""},
		{"127.0.0.1", "/debug/announcements", 200, `"node": "n1"`},
		{"127.0.0.2", "/debug/announcements", 404, ""}, // it names every namespace's Services
	} {
		code, body := get(t, fmt.Sprintf("http://%s:%d%s", c.host, port, c.path))
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s%s: %d %q, want %d %q", c.host, c.path, code, body, c.code, c.body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHTTPSaysWhichPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	s := newHTTPServer(netip.MustParseAddr("127.0.0.2"), port, someAgent{}, prometheus.NewRegistry())
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) {
		t.Errorf("error: %v", err)
	}
}
