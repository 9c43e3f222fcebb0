package bench

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

const allocatorDocument = `address-pools:
- name: a
  protocol: layer2
  addresses: [10.0.0.0/8]
`

func allocator() Benchmark {
	return Benchmark{
		Name:  "allocator",
		About: "One Service after the other gets an address out of a pool of a /8, in this process",
		Run:   runAllocator,
	}
}

func runAllocator(ctx context.Context, e *Env) (Result, error) {
	parsed, err := config.Parse([]byte(allocatorDocument))
	if err != nil {
		return Result{}, err
	}
	var rows []Row
	for _, n := range []int{10_000, 100_000} {
		name := fmt.Sprintf("%s allocations", number(float64(n)))
		total := Row{Name: name, Unit: "ms"}
		each := Row{Name: name + ", each", Unit: "ns"}
		heap := Row{Name: name + ", heap each", Unit: "B"}
		if n == 10_000 {
			total.Goal, total.BesideName = "well under 100 ms", "looking from the start each time"
		}
		for range e.Runs {
			if err := ctx.Err(); err != nil {
				return Result{}, err
			}
			took, bytes, err := allocate(parsed.Pools, n)
			if err != nil {
				return Result{}, err
			}
			total.Values = append(total.Values, milliseconds(took))
			each.Values = append(each.Values, float64(took.Nanoseconds())/float64(n))
			heap.Values = append(heap.Values, float64(bytes)/float64(n))
			if total.BesideName != "" {
				total.Beside = append(total.Beside, milliseconds(allocateNaively(n)))
			}
		}
		rows = append(rows, total, each, heap)
	}
	return Result{Rows: rows, Notes: []string{
		"Looking from the start is what most of the field does: a map of addresses in use, and for each Service a walk from the pool's first address to the first that is free. With 100,000 it would take a hundred times as long, and is left out.",
	}}, nil
}

// allocate serves n Services and returns how long it took and how much memory
// the allocator then holds.
func allocate(pools []config.Pool, n int) (time.Duration, uint64, error) {
	requests := make([]ipam.Request, n)
	for i := range requests {
		uid := strconv.Itoa(i)
		requests[i] = ipam.Request{
			UID: uid, Service: "default/" + uid, Namespace: "default", Families: []ipam.Family{ipam.IPv4},
			Ports: []ipam.Port{{Protocol: "TCP", Port: 80}},
		}
	}
	before := heapInUse()
	start := time.Now()
	a := ipam.New()
	a.Reconfigure(pools)
	for _, r := range requests {
		if _, err := a.Allocate(r); err != nil {
			return 0, 0, err
		}
	}
	took := time.Since(start)
	after := heapInUse()
	runtime.KeepAlive(a)
	runtime.KeepAlive(requests)
	return took, after - min(before, after), nil
}

// allocateNaively does it as most others do.
func allocateNaively(n int) time.Duration {
	start := time.Now()
	used := map[netip.Addr]string{}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10})
		for used[a] != "" {
			a = a.Next()
		}
		used[a] = "default/" + strconv.Itoa(i)
	}
	return time.Since(start)
}

// heapInUse returns the bytes that are reachable.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
