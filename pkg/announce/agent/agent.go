package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	// coalesce is how long what follows a change waits to be taken together.
	coalesce = 5 * time.Millisecond
	// settleAlone is how long a node that should be the only one waits for
	// others before it claims anything, and settleMissing one that should find
	// others and does not.
	settleAlone   = time.Second
	settleMissing = 3 * time.Second
	// drainPatience bounds how long a node that stops waits until others have
	// taken its addresses over.
	drainPatience = 4 * time.Second
	drainPoll     = 20 * time.Millisecond
	beat          = time.Second
)

// Options is what an Agent needs. All fields are required.
type Options struct {
	Node       string // this node's name
	Layer2     Layer2
	Membership Membership
	Recorder   Recorder
	Log        *slog.Logger
	Metrics    *Metrics
}

// Agent decides and has it carried out. Its methods may be called from any
// goroutine, before Run and during it.
type Agent struct {
	options Options
	log     *slog.Logger
	dirty   chan struct{} // holds one: look again
	state   atomic.Pointer[state]
	beats   atomic.Int64 // when the loop was last seen, in Unix nanoseconds

	mu    sync.Mutex // guards the fields below
	input input

	// Only the goroutine of Run uses the fields below.
	started  time.Time // when the members were first seen
	draining bool
	local    *Local // as published
}

// input is what the edges handed over last.
type input struct {
	cluster      *announce.Cluster // nil before the first
	members      *Members          // nil before the first
	links        []announce.Link
	haveLinks    bool
	observations []Observation
}

// state is what the loop came to last. It is immutable.
type state struct {
	local   Local
	waiting string // what the node waits for before it is ready; "" if it is
	input   input
	plan    announce.Plan
	tenures []tenure // index for index those of plan.Addresses
}

// New returns an Agent that does nothing until Run.
func New(o Options) *Agent {
	a := &Agent{options: o, log: o.Log, dirty: make(chan struct{}, 1)}
	a.state.Store(&state{waiting: "the program to start"})
	return a
}

// SetCluster replaces what the API server shows.
func (a *Agent) SetCluster(c *announce.Cluster) {
	a.update(func(in *input) { in.cluster = c })
}

// SetMembers replaces what is known of the nodes' announcers.
func (a *Agent) SetMembers(m Members) {
	a.update(func(in *input) { in.members = &m })
}

// SetLinks replaces this node's usable links. The caller must not write to
// them any more.
func (a *Agent) SetLinks(links []announce.Link) {
	a.update(func(in *input) { in.links, in.haveLinks = links, true })
}

// Observe takes in what a speaker saw.
func (a *Agent) Observe(o Observation) {
	a.update(func(in *input) { in.observations = append(in.observations, o) })
}

func (a *Agent) update(f func(*input)) {
	a.mu.Lock()
	f(&a.input)
	a.mu.Unlock()
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Then it has other nodes take its addresses over,
// for which all the edges must still be at work, and returns nil.
func (a *Agent) Run(ctx context.Context) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	stop := ctx.Done()
	var poll, deadline <-chan time.Time
	for {
		a.beats.Store(time.Now().UnixNano())
		select {
		case <-stop:
			a.log.Info("stopping: other nodes take the addresses over", "addresses", len(a.options.Layer2.Owned()))
			a.draining, stop, deadline = true, nil, time.After(drainPatience)
		case <-deadline:
			a.log.Warn("stopping although nobody has taken these addresses over", "addresses", a.left())
			return nil
		case <-poll:
		case <-ticker.C:
		case <-a.dirty:
		}
		a.step(time.Now())
		if a.draining {
			if len(a.left()) == 0 {
				return nil
			}
			poll = time.After(drainPoll)
		}
		<-time.After(coalesce)
	}
}

// left returns the addresses that this node still answers for although another
// one is to take them over.
func (a *Agent) left() []string {
	s := a.state.Load()
	var left []string
	for _, addr := range a.options.Layer2.Owned() {
		d, ok := s.plan.Lookup(addr)
		if ok && d.Owner != "" && !d.Mine() {
			left = append(left, addr.String())
		}
	}
	return left
}

// step looks at everything and acts.
func (a *Agent) step(now time.Time) {
	in := a.take()
	before := a.state.Load()
	after := &state{input: in, waiting: a.waitingFor(in, now), plan: before.plan, tenures: before.tenures}
	after.local = a.describe(in, after.waiting == "")
	a.publish(after.local)
	if in.cluster != nil && in.cluster.Freshness != announce.Incomplete && in.members != nil {
		a.decide(before, after)
	}
	a.tell(after, in.observations)
	after.input.observations = nil
	a.options.Metrics.observe(after)
	a.state.Store(after)
}

// take returns the input, and forgets the observations in it.
func (a *Agent) take() input {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.input
	a.input.observations = nil
	return in
}
