package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/herald-lb/herald/pkg/announce/agent"
)

const stopPatience = time.Second

// looper is what the pages show; it is the agent.
type looper interface {
	Status() agent.Status
	Health(now time.Time) error
	Readiness() error
}

// httpServer serves pages for machines on the node's address, and those for
// people, which tell of every namespace's Services, on the loopback address
// alone: kubectl port-forward reaches it, other Pods do not.
type httpServer struct {
	public, private       netip.AddrPort
	publicMux, privateMux *http.ServeMux
}

func newHTTPServer(host netip.Addr, port uint16, l looper, metrics prometheus.Gatherer) *httpServer {
	s := &httpServer{
		public:    netip.AddrPortFrom(host, port),
		private:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port),
		publicMux: http.NewServeMux(), privateMux: http.NewServeMux(),
	}
	for _, mux := range []*http.ServeMux{s.publicMux, s.privateMux} {
		mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
		mux.HandleFunc("GET /healthz", check(func() error { return l.Health(time.Now()) }))
		mux.HandleFunc("GET /readyz", check(l.Readiness))
	}
	s.privateMux.HandleFunc("GET /debug/announcements", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(l.Status()) // the client went away: nobody is left to tell
	})
	return s
}

func check(f func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := f(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

// Run serves until ctx ends and then returns nil.
func (s *httpServer) Run(ctx context.Context) error {
	servers := map[netip.AddrPort]*http.Server{
		s.public:  newServer(s.publicMux),
		s.private: newServer(s.privateMux), // alone, if the node's address is this one
	}
	failed := make(chan error, len(servers))
	running := 0
	var err error
	for at, server := range servers {
		var l net.Listener
		if l, err = net.Listen("tcp", at.String()); err != nil {
			err = fmt.Errorf("pages for probes and metrics, see --http-port: %w", err)
			break
		}
		running++
		go func() { failed <- server.Serve(l) }()
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
			running--
		}
	}
	patience, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(patience) != nil {
			server.Close()
		}
	}
	for range running {
		if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 14,
	}
}
