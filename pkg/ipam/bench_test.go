package ipam_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"testing"

	"github.com/herald-lb/herald/pkg/ipam"
)

// service returns the request of the i-th Service.
func service(i int) ipam.Request {
	name := strconv.Itoa(i)
	return ipam.Request{
		UID: name, Service: "default/" + name, Namespace: "default",
		Families: []ipam.Family{ipam.IPv4}, Ports: []ipam.Port{{Protocol: "TCP", Port: 80}},
	}
}

// services returns the requests of n Services, each changed by change.
func services(n int, change func(i int, r *ipam.Request)) []ipam.Request {
	out := make([]ipam.Request, n)
	for i := range out {
		out[i] = service(i)
		change(i, &out[i])
	}
	return out
}

func asIs(int, *ipam.Request) {}

// fill returns an allocator over the pools that has served the requests.
func fill(b testing.TB, document string, requests []ipam.Request) *ipam.Allocator {
	a := ipam.New()
	a.Reconfigure(pools(b, document))
	for _, r := range requests {
		if _, err := a.Allocate(r); err != nil {
			b.Fatal(err)
		}
	}
	return a
}

// perOp reports the time of one of n calls of which the loop's body makes all.
func perOp(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/call")
}

// BenchmarkSequential allocates n addresses one after the other, starting with
// an empty allocator.
func BenchmarkSequential(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			requests := services(n, asIs)
			for b.Loop() {
				fill(b, "a 10.0.0.0/8", requests)
			}
			perOp(b, n)
		})
	}
}

// BenchmarkManyRanges does the same with a pool of small ranges.
func BenchmarkManyRanges(b *testing.B) {
	const n = 10_000
	document := "a"
	for i := range n / 16 {
		document += fmt.Sprintf(" 10.%d.%d.0/28", i/256, i%256)
	}
	requests := services(n, asIs)
	for b.Loop() {
		fill(b, document, requests)
	}
	perOp(b, n)
}

// BenchmarkChurn releases and allocates in turn in a full pool, in an order
// that leaves the free addresses apart from each other.
func BenchmarkChurn(b *testing.B) {
	for _, n := range []int{1 << 13, 1 << 16} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			requests := services(n, asIs)
			for b.Loop() {
				b.StopTimer()
				a := fill(b, fmt.Sprintf("a 10.0.0.0/%d", 32-len(strconv.FormatInt(int64(n-1), 2))), requests)
				b.StartTimer()
				churn(b, a, requests)
			}
			perOp(b, 4*n)
		})
	}
}

// churn frees every other address and gives half of these away again; then it
// frees one from the end and asks for one from the start, for all in turn.
func churn(b *testing.B, a *ipam.Allocator, requests []ipam.Request) {
	for i := 0; i < len(requests); i += 2 {
		a.Release(requests[i].UID)
		a.Observe(requests[i].UID, nil)
	}
	for i := 0; i < len(requests); i += 4 {
		if _, err := a.Allocate(requests[i]); err != nil {
			b.Fatal(err)
		}
	}
	for i := range requests {
		uid := requests[len(requests)-1-i].UID
		a.Release(uid)
		a.Observe(uid, nil)
		if _, err := a.Allocate(requests[i]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAgain asks for what is held already, as every sync does.
func BenchmarkAgain(b *testing.B) {
	const n = 10_000
	requests := services(n, asIs)
	a := fill(b, "a 10.0.0.0/8", requests)
	for b.Loop() {
		for _, r := range requests {
			if _, err := a.Allocate(r); err != nil {
				b.Fatal(err)
			}
		}
	}
	perOp(b, n)
}

// BenchmarkMemory shows that memory goes with what is in use, not with the
// pool. The strings of the requests, which the caller has, are not counted.
func BenchmarkMemory(b *testing.B) {
	const n = 10_000
	for _, document := range []string{"a 10.0.0.0/18", "a 10.0.0.0/8", "a fd00::/114", "a fd00::/48"} {
		b.Run(document[2:], func(b *testing.B) {
			requests := services(n, func(_ int, r *ipam.Request) {
				if pools(b, document)[0].Ranges[0].From().Is6() {
					r.Families = []ipam.Family{ipam.IPv6}
				}
			})
			var used uint64
			for b.Loop() {
				before := heap()
				a := fill(b, document, requests)
				used = heap() - before
				runtime.KeepAlive(a)
			}
			b.ReportMetric(float64(used)/n, "B/address")
		})
	}
}

// heap returns the bytes that are reachable.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkWaiters asks for 10,000 Services at a full pool, at a pool by name,
// for both families and for an address that is taken: what one round of
// waking everybody costs.
func BenchmarkWaiters(b *testing.B) {
	const n = 10_000
	for name, change := range map[string]func(int, *ipam.Request){
		"any":     asIs,
		"named":   func(_ int, r *ipam.Request) { r.Pool = "a" },
		"sharing": func(_ int, r *ipam.Request) { r.SharingKey = "k" },
		"taken":   func(_ int, r *ipam.Request) { r.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.7")} },
		"dual": func(_ int, r *ipam.Request) {
			r.Policy, r.Families = ipam.RequireDualStack, []ipam.Family{ipam.IPv4, ipam.IPv6}
		},
	} {
		b.Run(name, func(b *testing.B) {
			a := fill(b, "a 10.0.0.0/20; b 10.1.0.0/20", services(1<<13, asIs))
			waiting := services(n, func(i int, r *ipam.Request) {
				r.UID += " waits"
				change(i, r)
			})
			for b.Loop() {
				for _, r := range waiting {
					if _, err := a.Allocate(r); err == nil {
						b.Fatal("the pool is not full")
					}
				}
			}
			perOp(b, n)
		})
	}
}

// BenchmarkSharing allocates 10,000 Services that share by key: all on one
// address, on one each because their ports are the same, and in between; and
// then releases them all.
func BenchmarkSharing(b *testing.B) {
	const n = 10_000
	for name, change := range map[string]func(int, *ipam.Request){
		"one address": func(i int, r *ipam.Request) { r.Ports[0].Port = uint16(i + 1) },
		"same port":   asIs,
		"100 ports":   func(i int, r *ipam.Request) { r.Ports[0].Port = uint16(i % 100) },
		"1000 keys":   func(i int, r *ipam.Request) { r.SharingKey = strconv.Itoa(i % 1000); r.Ports[0].Port = uint16(i) },
		"three ports": func(i int, r *ipam.Request) {
			r.Ports = []ipam.Port{{"TCP", uint16(i % 7)}, {"TCP", uint16(10 + i%11)}, {"UDP", uint16(i % 13)}}
		},
	} {
		b.Run(name, func(b *testing.B) {
			requests := services(n, func(i int, r *ipam.Request) {
				r.SharingKey = "k"
				change(i, r)
			})
			for b.Loop() {
				a := fill(b, "a 10.0.0.0/8", requests)
				for _, r := range requests {
					a.Release(r.UID)
					a.Observe(r.UID, nil)
				}
			}
			perOp(b, 3*n)
		})
	}
}

// BenchmarkStart adopts 10,000 Services, learns the pools, and serves everybody.
func BenchmarkStart(b *testing.B) {
	const n = 10_000
	requests := services(n, asIs)
	before := fill(b, "a 10.0.0.0/8", requests)
	var adoptions []ipam.Adoption
	for _, r := range requests {
		held, _ := before.Held(r.UID)
		adoptions = append(adoptions, ipam.Adoption{Request: r, Held: held.Addresses})
	}
	document := pools(b, "a 10.0.0.0/8")
	for b.Loop() {
		a := ipam.New()
		a.AdoptAll(adoptions)
		a.Reconfigure(document)
		if stranded := a.Stranded(document); len(stranded) > 0 {
			b.Fatal(stranded)
		}
		for _, r := range requests {
			if got, err := a.Allocate(r); err != nil || len(got.Cleared) > 0 {
				b.Fatal(got, err)
			}
		}
	}
	perOp(b, n)
}
