package provider

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
	"k8s.io/apimachinery/pkg/types"
)

// ask is what a Service asks for.
type ask struct {
	uid     types.UID
	key     types.NamespacedName
	created time.Time
	request ipam.Request
	invalid *ipam.Refusal // the Service can't be made sense of; request only identifies it
}

// decision is what became of an ask.
type decision struct {
	uid       types.UID
	key       types.NamespacedName
	addresses []netip.Addr   // what the Service holds now
	changed   bool           // it held others before
	cleared   []ipam.Cleared // what was taken from it
	refusal   *ipam.Refusal  // why it holds less than it asked for; nil if it doesn't
}

// entry is a Service that asked.
type entry struct {
	ask
	refusal *ipam.Refusal
	open    bool // not decided about yet, or holds fewer families than it would take
}

// unsettled is who has not been tried against the last changes.
type unsettled int

const (
	nobody   unsettled = iota
	waiting            // those that lack what they asked for: something became free
	everyone           // also those that would take more than they have: the pools changed
)

// ledger serialises the allocator and remembers what every Service asked for,
// so that those that wait can be served in the order of their age when
// something becomes free. It does no I/O.
type ledger struct {
	mu        sync.Mutex // guards the fields below
	allocator *ipam.Allocator
	missing   string // why there is no configuration; empty if there is one
	entries   map[types.UID]*entry
	unsettled unsettled

	stirred chan struct{} // has an element when something became unsettled
	metrics *collectors
}

func newLedger(m *collectors) *ledger {
	return &ledger{
		allocator: ipam.New(),
		missing:   "no configuration has been read yet",
		entries:   make(map[types.UID]*entry),
		stirred:   make(chan struct{}, 1),
		metrics:   m,
	}
}

// adoption is a Service with what its status shows.
type adoption struct {
	ask
	shown    []netip.Addr
	deleting bool
}

// prime makes the ledger know the accepted configuration, which is nil if there
// is none, and all that the API shows, before anything is given away. The
// first reconfigure then decides about all of them, the oldest first.
func (l *ledger) prime(accepted *config.Config, adoptions []adoption) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if accepted != nil {
		l.allocator.Reconfigure(accepted.Pools)
	}
	all := make([]ipam.Adoption, len(adoptions))
	for i, a := range adoptions {
		all[i] = ipam.Adoption{Request: a.request, Held: a.shown, Deleting: a.deleting, Created: a.created}
	}
	l.allocator.AdoptAll(all)
	for _, a := range adoptions {
		if a.deleting {
			l.allocator.Release(string(a.uid))
			continue
		}
		l.entries[a.uid] = &entry{ask: a.ask, open: true}
	}
}

// ensure decides about one Service. others are Services that waited for longer
// and were served first.
func (l *ledger) ensure(a ask) (d decision, others []decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.allocator.Held(string(a.uid)); !held {
		others = l.settle()
	}
	e, ok := l.entries[a.uid]
	if !ok {
		e = &entry{}
		l.entries[a.uid] = e
	}
	e.ask = a
	return l.decide(e), others
}

// decide tries to give a Service what it asks for. A Service keeps what it
// holds while it can't be made sense of and while there is no configuration.
func (l *ledger) decide(e *entry) decision {
	uid := string(e.uid)
	before, _ := l.allocator.Held(uid)
	d := decision{uid: e.uid, key: e.key, addresses: before.Addresses}
	switch {
	case e.invalid != nil:
		d.refusal = e.invalid
	case l.missing != "":
		if len(before.Addresses) == 0 {
			d.refusal = &ipam.Refusal{Reason: ipam.NoConfiguration, Service: e.request.Service, Detail: l.missing}
		}
	default:
		got, err := l.allocator.Allocate(e.request)
		d.cleared, d.addresses = got.Cleared, got.Addresses
		if refusal, ok := errors.AsType[*ipam.Refusal](err); ok {
			d.refusal = refusal
		}
		if len(got.Opened) > 0 {
			l.stir(waiting)
		}
	}
	d.changed = !slices.Equal(before.Addresses, d.addresses)
	l.metrics.decided(d, e.refusal)
	e.refusal = d.refusal
	e.open = e.request.Policy == ipam.PreferDualStack && len(d.addresses) < len(e.request.Families)
	return d
}

// settle tries those that wait, the oldest first, and returns the decisions
// that differ from the last ones.
func (l *ledger) settle() []decision {
	who := l.unsettled
	if who == nobody {
		return nil
	}
	l.unsettled = nobody
	var due []*entry
	for _, e := range l.entries {
		if e.refusal != nil || who == everyone && e.open {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *entry) int { return older(a.ask, b.ask) })
	var out []decision
	for _, e := range due {
		last := e.refusal
		if d := l.decide(e); d.changed || !sameRefusal(last, d.refusal) {
			out = append(out, d)
		}
	}
	return out
}

// reconsider tries those that wait if there is a reason to.
func (l *ledger) reconsider() []decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settle()
}

// wake makes the next reconsider try everyone.
func (l *ledger) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stir(everyone)
}

// stir notes who has to be tried, and wakes whoever waits on stirred.
func (l *ledger) stir(who unsettled) {
	l.unsettled = max(l.unsettled, who)
	select {
	case l.stirred <- struct{}{}:
	default:
	}
}

// observe tells what the API shows for a Service; nil when the Service is gone.
// What it held and no longer shows becomes free only now: had it been given
// away earlier, a crash could have left two Services showing it.
func (l *ledger) observe(uid types.UID, shown []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if freed := l.allocator.Observe(string(uid), shown); len(freed) > 0 {
		l.stir(waiting)
	}
}

// release takes note that a Service wants no address any more.
func (l *ledger) release(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, uid)
	if _, held := l.allocator.Held(string(uid)); held {
		l.stir(waiting)
	}
	l.allocator.Release(string(uid))
}

// holds returns what a Service holds, and why it holds no more.
func (l *ledger) holds(uid types.UID) ([]netip.Addr, *ipam.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, _ := l.allocator.Held(string(uid))
	if e := l.entries[uid]; e != nil {
		return held.Addresses, e.refusal
	}
	return held.Addresses, nil
}

// reconfigure applies what judge says, in one step with its looking at what is
// in use, so that nothing is given away in between. It returns the decisions
// about Services that this changed.
func (l *ledger) reconfigure(judge func(stranded strandedFunc) verdict) (verdict, []decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := judge(l.allocator.Stranded)
	if l.missing != v.missing {
		l.missing = v.missing
		l.stir(everyone)
	}
	var out []decision
	if v.outcome == accepted {
		losers := l.allocator.Stranded(v.config.Pools)
		l.allocator.Reconfigure(v.config.Pools)
		l.stir(everyone)
		for _, s := range losers {
			if e := l.entries[types.UID(s.UID)]; e != nil {
				out = append(out, l.decide(e))
			}
		}
	}
	return v, append(out, l.settle()...)
}

// usage returns the pools' usage, and how many Services wait for each reason.
func (l *ledger) usage() (pools []ipam.PoolUsage, refused map[ipam.Reason]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	refused = make(map[ipam.Reason]int)
	for _, e := range l.entries {
		if e.refusal != nil {
			refused[e.refusal.Reason]++
		}
	}
	return l.allocator.Usage(), refused
}

// older orders asks by age, and by name where the age is the same.
func older(a, b ask) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
}

// sameRefusal tells whether two refusals mean the same to the user. The text is
// not compared: it may hold counts that change all the time.
func sameRefusal(a, b *ipam.Refusal) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Reason == b.Reason && a.Pool == b.Pool && a.Holder == b.Holder && a.Address == b.Address
}
