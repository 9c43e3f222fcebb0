package bgp

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	benchPeers  = 4
	benchRoutes = 10_000
)

// sink is a router that counts the /32 routes it gets.
type sink struct {
	port   uint16
	up     chan struct{}
	routes atomic.Int64
}

func newSink(b *testing.B) *sink {
	b.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &sink{port: uint16(l.Addr().(*net.TCPAddr).Port), up: make(chan struct{})}
	var done sync.WaitGroup
	done.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		greet(c)
		close(s.up)
		r := bufio.NewReaderSize(c, 1<<16)
		for {
			msg, err := readMessage(r)
			if err != nil {
				return
			}
			if body := messageBody(msg); messageType(msg) == typeUpdate {
				attributes := int(binary.BigEndian.Uint16(body[2:]))
				s.routes.Add(int64((len(body) - 4 - attributes) / 5)) // a /32 takes five bytes
			}
		}
	})
	b.Cleanup(func() { l.Close(); done.Wait() })
	return s
}

// all waits until each sink has the routes.
func all(sinks []*sink, want int64) {
	for _, s := range sinks {
		for s.routes.Load() < want {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

func benchRoute(i int) Route {
	return Route{Prefix: prefix(fmt.Sprintf("100.64.%d.%d/32", i>>8, i&0xff)), NextHop: addr("10.0.0.1"), LocalPref: 100}
}

// BenchmarkRoutes announces ten thousand routes to four routers, in sessions
// that are up, and then one more. "bare" is GoBGP alone, doing the same.
func BenchmarkRoutes(b *testing.B) {
	b.Run("herald", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s := New(Options{Logger: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { s.Run(ctx) })
			var sinks []*sink
			want := map[string]Desired{}
			for i := range benchPeers {
				sinks = append(sinks, newSink(b))
				want[fmt.Sprint(i)] = Desired{Peer: Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("127.0.0.1"), Port: sinks[i].port, RouterID: addr("10.0.0.1"), HoldTime: 90 * time.Second}}
			}
			s.Apply(want)
			for _, k := range sinks {
				<-k.up
			}
			var routes []Route
			for i := range benchRoutes + 1 {
				routes = append(routes, benchRoute(i))
			}
			time.Sleep(200 * time.Millisecond) // for End-of-RIB
			announce := func(n int) {
				next := map[string]Desired{}
				for name, d := range want {
					next[name] = Desired{d.Peer, routes[:n]}
				}
				s.Apply(next)
				all(sinks, int64(n))
			}
			b.StartTimer()
			began := time.Now()
			announce(benchRoutes)
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/10000")
			began = time.Now()
			announce(benchRoutes + 1)
			b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/one-more")
			b.StopTimer()
			cancel()
			running.Wait()
			b.StartTimer()
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			var sinks []*sink
			var servers []*table
			for i := range benchPeers {
				sinks = append(sinks, newSink(b))
				e, err := (&library{log: slog.New(slog.DiscardHandler)}).open()
				if err != nil {
					b.Fatal(err)
				}
				t := e.(*table)
				servers = append(servers, t)
				if err := t.connect(Peer{LocalASN: 64512, PeerASN: 65000, HoldTime: 90 * time.Second}, sinks[i].port); err != nil {
					b.Fatal(err)
				}
			}
			for _, k := range sinks {
				<-k.up
			}
			time.Sleep(200 * time.Millisecond)
			b.StartTimer()
			began := time.Now()
			var adding sync.WaitGroup
			for _, t := range servers {
				adding.Go(func() {
					for i := range benchRoutes {
						if err := t.add(benchRoute(i)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			adding.Wait()
			all(sinks, benchRoutes)
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/10000")
			b.StopTimer()
			for _, t := range servers {
				t.disconnect()
				t.close()
			}
			b.StartTimer()
		}
	})
}
