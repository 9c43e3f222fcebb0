package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// burstTimeout is how long a burst may take before it is given up.
const burstTimeout = 3 * time.Minute

func burst() Benchmark {
	return Benchmark{
		Name:  "burst",
		About: "Services of type LoadBalancer, without endpoints and node ports, are created 16 at a time",
		Run:   runBurst,
	}
}

// burstResult is what one burst was like.
type burstResult struct {
	rate      float64 // Services a second, from the first creation to the last address
	latencies Sample  // ms, of each Service from its creation to its address
	writes    float64 // to each Service, but for its creation
}

func runBurst(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	remove, err := c.namespace(ctx, "burst")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var ours, theirs, alone []burstResult
	for run := range e.Runs {
		turns := []func() error{
			func() error { return keep(&ours)(e.heraldBurst(ctx, c)) },
			func() error { return keep(&theirs)(e.bareBurst(ctx, c)) },
		}
		if run%2 == 1 {
			turns[0], turns[1] = turns[1], turns[0]
		}
		turns = append(turns, func() error { return keep(&alone)(e.bareWrites(ctx, c)) })
		for _, turn := range turns {
			if err := errors.Join(turn(), c.removeServices(ctx, "burst"), pause(ctx, 2*time.Second)); err != nil {
				return Result{}, err
			}
		}
		e.say("run %d: %.0f Services/s; bare client %.0f, its writes alone %.0f", run+1, ours[run].rate, theirs[run].rate, alone[run].rate)
	}
	return burstRows(e.Services, ours, theirs, alone), nil
}

// keep returns a function that appends what a turn has measured.
func keep(to *[]burstResult) func(burstResult, error) error {
	return func(r burstResult, err error) error {
		if err == nil {
			*to = append(*to, r)
		}
		return err
	}
}

func burstRows(services int, ours, theirs, alone []burstResult) Result {
	pick := func(from []burstResult, f func(burstResult) float64) Sample {
		var s Sample
		for _, r := range from {
			s = append(s, f(r))
		}
		return s
	}
	rate := func(r burstResult) float64 { return r.rate }
	row := func(name, unit string, f func(burstResult) float64) Row {
		return Row{Name: name, Unit: unit, Values: pick(ours, f), Beside: pick(theirs, f), BesideName: "bare client"}
	}
	first := row(fmt.Sprintf("addresses given to %d Services", services), "Services/s", rate)
	first.Goal = "ratio ≥ 0.6"
	return Result{
		Rows: []Row{
			first,
			row("creation to address seen, p50", "ms", func(r burstResult) float64 { return r.latencies.Percentile(50) }),
			row("creation to address seen, p99", "ms", func(r burstResult) float64 { return r.latencies.Percentile(99) }),
			row("writes for each Service", "", func(r burstResult) float64 { return r.writes }),
			{Name: "the same burst, against the two writes alone", Unit: "Services/s", Values: pick(ours, rate),
				Beside: pick(alone, rate), BesideName: "bare client, Services are there already"},
		},
		Notes: []string{
			"The bare client watches Services of a class of its own, and does the same two writes for each (the finalizer and the address, both patches of services/status), 16 at a time, without a limit of its rate. It runs outside of the cluster as a user whom the API server never throttles.",
			"Times are from before the request that creates a Service until a watch shows its address. The rate counts from the first creation to the last address: creating is part of both.",
		},
	}
}

// heraldBurst creates Services and lets Herald give them addresses.
func (e *Env) heraldBurst(ctx context.Context, c *cluster) (burstResult, error) {
	return e.measureBurst(ctx, c, nil, isHerald)
}

// bareBurst does the same with a bare client in Herald's place.
func (e *Env) bareBurst(ctx context.Context, c *cluster) (burstResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	services, err := c.services("burst")
	if err != nil {
		cancel()
		return burstResult{}, err
	}
	bare, err := startBare(ctx, services, e.Services)
	if err != nil {
		cancel()
		return burstResult{}, err
	}
	r, err := e.measureBurst(ctx, c, ofBareClass, func(user string) bool { return !isHerald(user) })
	cancel()
	return r, errors.Join(err, bare())
}

// bareWrites lets the bare client do its writes to Services that are there.
func (e *Env) bareWrites(ctx context.Context, c *cluster) (burstResult, error) {
	services, err := c.services("burst")
	if err != nil {
		return burstResult{}, err
	}
	names := serviceNames("s", e.Services)
	err = each(ctx, names, func(ctx context.Context, name string) error {
		_, err := services.Create(ctx, newService(name, ofBareClass), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return burstResult{}, err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return burstResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen, err := watchAddresses(ctx, services, len(names))
	if err != nil {
		return burstResult{}, err
	}
	start := time.Now()
	var next atomic.Uint32
	err = each(ctx, names, func(ctx context.Context, name string) error {
		return giveAddress(ctx, services, name, next.Add(1))
	})
	if err != nil {
		return burstResult{}, err
	}
	at, err := seen.wait(ctx, burstTimeout)
	return burstResult{rate: rateUntil(start, at)}, err
}

// measureBurst creates Services and sees when they have addresses. Writes are
// counted if by says that they are those of the one who gives addresses.
func (e *Env) measureBurst(ctx context.Context, c *cluster, change func(*corev1.Service), by func(user string) bool) (burstResult, error) {
	services, err := c.services("burst")
	if err != nil {
		return burstResult{}, err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	names := serviceNames("s", e.Services)
	seen, err := watchAddresses(watching, services, len(names))
	if err != nil {
		return burstResult{}, err
	}
	mark, err := markAudit(c.AuditLog())
	if err != nil {
		return burstResult{}, err
	}
	created := make(map[string]time.Time, len(names))
	var mu sync.Mutex // guards created
	start := time.Now()
	err = each(ctx, names, func(ctx context.Context, name string) error {
		mu.Lock()
		created[name] = time.Now()
		mu.Unlock()
		_, err := services.Create(ctx, newService(name, change), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return burstResult{}, err
	}
	at, err := seen.wait(ctx, burstTimeout)
	if err != nil {
		return burstResult{}, err
	}
	r := burstResult{rate: rateUntil(start, at)}
	for name, t := range at {
		r.latencies = append(r.latencies, float64(t.Sub(created[name]))/float64(time.Millisecond))
	}
	// What was seen last may not be in the log yet.
	if err := pause(ctx, time.Second); err != nil {
		return burstResult{}, err
	}
	writes, err := mark.count(func(w auditEvent) bool { return w.isServiceWrite() && w.Verb != "create" && by(w.User.Username) })
	r.writes = float64(writes) / float64(len(names))
	return r, err
}

// rateUntil is how many were seen a second, until the last one.
func rateUntil(start time.Time, seen map[string]time.Time) float64 {
	last := start
	for _, t := range seen {
		if t.After(last) {
			last = t
		}
	}
	return float64(len(seen)) / last.Sub(start).Seconds()
}
