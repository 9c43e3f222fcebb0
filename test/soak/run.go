package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
)

// Settings say how to wear Herald down.
type Settings struct {
	For      time.Duration // from when all is up
	Seed     uint64        // of what happens and when
	Nodes    int
	Services int // dual-stack ones
	Rate     int // connections a second to each address
	Out      io.Writer
}

// run is one soak.
type run struct {
	*herald.Cluster
	settings Settings
	random   *rand.Rand
	services [][]netip.Addr
	clients  map[netip.Addr]*probe.Prober
	switches *lab.Switches // of the clients' host
	memory   *memory
	broken   []string
	lines    map[string]*line
	order    []string // of lines
	saved    int      // times

	deals     int        // of the deck of faults, this one counted
	detail    string     // whom the present fault hits
	contested netip.Addr // that a stranger takes in it
}

// Run brings a cluster up, wears it down and takes it away. It writes a line for
// each fault and a summary. The error says what did not hold.
func Run(ctx context.Context, s Settings) (err error) {
	c, err := herald.Up(ctx, lab.Options{Name: "soak", Nodes: s.Nodes, Progress: s.Out}, document)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	r := &run{
		Cluster: c, settings: s, random: rand.New(rand.NewPCG(s.Seed, s.Seed)),
		clients: map[netip.Addr]*probe.Prober{}, memory: newMemory(), lines: map[string]*line{},
	}
	err = r.work(ctx)
	if err != nil {
		err = errors.Join(err, r.save(ctx))
	}
	r.report()
	if len(r.broken) > 0 {
		err = errors.Join(err, fmt.Errorf("%d times something did not hold; the same again: -seed %d", len(r.broken), s.Seed))
	}
	return err
}

func (r *run) work(ctx context.Context) error {
	if err := r.deploy(ctx); err != nil {
		return err
	}
	if err := r.Settle(ctx, r.services); err != nil {
		return err
	}
	stop, err := r.startClients()
	if err != nil {
		return err
	}
	defer stop()
	var deck []fault
	for end := time.Now().Add(r.settings.For); time.Now().Before(end) && ctx.Err() == nil; {
		if len(deck) == 0 {
			deck = faults()
			r.random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			r.deals++
		}
		next := deck[0]
		deck = deck[1:]
		if err := r.suffer(ctx, next); err != nil {
			return fmt.Errorf("%s (%s): %w", next.name, r.detail, err)
		}
		pause(ctx, time.Second+time.Duration(r.random.Int64N(int64(3*time.Second))))
	}
	return context.Cause(ctx)
}

// save keeps what is needed to find out what happened.
func (r *run) save(ctx context.Context) error {
	r.saved++
	dir := filepath.Join(os.TempDir(), "herald-soak-logs", fmt.Sprintf("%d-%d", r.settings.Seed, r.saved))
	fmt.Fprintf(r.settings.Out, "the logs of Herald's pods, and what they knew, are in %s\n", dir)
	return r.SaveLogs(context.WithoutCancel(ctx), dir)
}

// suffer lets a fault happen, waits until all is well again, and judges. What
// is needed to find out what happened is saved at once: pods, and their logs,
// may not outlive the next fault.
func (r *run) suffer(ctx context.Context, f fault) error {
	broken := len(r.broken)
	defer func() {
		if len(r.broken) == broken {
			return
		}
		if err := r.save(ctx); err != nil {
			fmt.Fprintln(r.settings.Out, "not all of it:", err)
		}
	}()
	r.detail, r.contested = "", netip.Addr{}
	for _, p := range r.clients {
		p.Reset()
	}
	owners := r.WatchOwners(r.all())
	defer owners.Stop()
	begun := time.Now()
	<-time.After(time.Second) // who has what before
	if err := f.do(ctx, r); err != nil {
		return err
	}
	over := time.Now()
	switch err := r.Settle(ctx, r.services); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		r.breaks(f, fmt.Sprintf("after it: %v", err))
		return nil
	}
	r.judge(f, owners, took{fault: over.Sub(begun), settling: time.Since(over)})
	return r.memory.measure(r.Cluster)
}

// all are the addresses of all Services.
func (r *run) all() []netip.Addr {
	var out []netip.Addr
	for _, addresses := range r.services {
		out = append(out, addresses...)
	}
	return out
}

// startClients starts a prober for each address, and watches whom they send to.
func (r *run) startClients() (stop func(), err error) {
	if r.switches, err = r.WatchSwitches(lab.Client); err != nil {
		return nil, err
	}
	var stops []func() (probe.Report, error)
	stop = func() {
		for _, s := range stops {
			if _, err := s(); err != nil {
				fmt.Fprintln(r.settings.Out, "a client failed:", err)
			}
		}
		if err := r.switches.Stop(); err != nil {
			fmt.Fprintln(r.settings.Out, "the watch of the clients' neighbours failed:", err)
		}
	}
	for _, a := range r.all() {
		p, s, err := r.Probe(lab.Client, probe.Options{Target: netip.AddrPortFrom(a, 80), Rate: r.settings.Rate})
		if err != nil {
			stop()
			return nil, err
		}
		r.clients[a] = p
		stops = append(stops, s)
	}
	return stop, nil
}
