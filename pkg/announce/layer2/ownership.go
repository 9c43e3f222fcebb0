package layer2

import (
	"net/netip"
	"slices"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// Times of the ownership of one address.
const (
	firstProbes   = 3 // before an address is used for the first time; RFC 5227, shortened for wired LANs
	firstGap      = 200 * time.Millisecond
	firstWait     = 400 * time.Millisecond
	opinionProbes = 3 // before an address is taken from a node that is down
	opinionGap    = 20 * time.Millisecond
	heldGap       = 200 * time.Millisecond
	awaitGap      = 100 * time.Millisecond // while the node that is to hand over answers
	yieldGap      = 100 * time.Millisecond
	returnGap     = 100 * time.Millisecond  // of probes on a link that is just up: the switch may not forward yet
	returnWait    = 1250 * time.Millisecond // before an address is taken back: longer than Linux's neighbor/retrans_time_ms

	handOverPatience = 500 * time.Millisecond // for a moment without traffic
	awaitPatience    = 800 * time.Millisecond // for the other node to hand over; more than it takes
	askedWithin      = 3 * awaitGap / 2       // between two probes of a node that waits: less than heldGap
	awaitedFor       = 3 * awaitGap           // after its last probe a node still waits
	heldUp           = time.Millisecond       // too late to tell what came since
	handOverWait     = 20 * time.Millisecond  // for the claim of the node that was told to take over

	probeEvery   = time.Minute            // for a second holder that nothing shows
	conflictOver = 150 * time.Second      // unseen that long: two probes found nothing
	graceForeign = 5 * time.Second        // after a takeover an unknown MAC may be a node's that isn't known yet
	defendEvery  = 10 * time.Second       // against strangers; RFC 5227 section 2.4
	insistEvery  = 20 * time.Millisecond  // against nodes
	insistAfter  = 100 * time.Millisecond // against a node that is alive: rather this node's view is late
	settleAfter  = 500 * time.Millisecond // a dispute that the views of the election don't end
	disputeGap   = 2 * time.Second        // silence that ends a dispute
)

// state is what this node does about one address.
type state uint8

const (
	idle      state = iota // another node's, or nobody's
	probing                // elected; not in use before; asking whether it is free
	verifying              // elected; asking whether the previous owner is really gone
	held                   // elected; somebody else answers
	awaiting               // elected; the owner is alive and about to hand over
	owning                 // answering and announcing
	yielding               // no longer elected; answering until the elected node does
	states
)

// String returns the state's label in metrics.
func (s state) String() string {
	return [...]string{"idle", "probing", "verifying", "held", "awaiting", "owning", "yielding"}[s]
}

// serves reports whether clients are sent here as far as this node knows.
func (s state) serves() bool { return s == owning || s == yielding }

// claim is a frame by which somebody else uses an address.
type claim struct {
	mac  announce.MAC
	node string // empty for a stranger
	link string
}

// announceOp is what is to become of an address's announcements.
type announceOp uint8

const (
	leaveAnnouncing announceOp = iota
	startAnnouncing            // the series from its beginning
	repeatAnnouncing
	stopAnnouncing
)

// probeOp says whether a probe is to be sent, and how soon.
type probeOp uint8

const (
	noProbe probeOp = iota
	urgentProbe
	calmProbe
)

// effects are what a transition asks for, besides the new state.
type effects struct {
	probe     probeOp
	witnesses bool // ask the witnesses too
	announce  announceOp
	events    []Event
}

// world is what the ownership of every address depends on alike.
type world struct {
	self string
	down map[string]struct{}
	// outranks is the order of nodes that doesn't depend on anybody's view.
	outranks func(x, y string, lead netip.Addr) bool
	// spread returns d with jitter.
	spread func(d time.Duration) time.Duration
}

// sensed is what a tick depends on besides time and frames.
type sensed struct {
	witness time.Time // when a witness last answered on one of the address's links
	rest    time.Time // when the address's traffic rests, unless more of it comes
}

// ownership is the state machine of one address. Time and frames are
// arguments; what is to be done is returned.
//
//	       elected, nobody had it               silence
//	idle ────────────────────────────► probing ─────────┐
//	 │ │   elected, owner is down or unheard    silence  ▼
//	 │ └─────────────────────────────► verifying ────► owning ──┐
//	 │        somebody answers │  ▲                     ▲ │     │ no longer
//	 │                         ▼  │ silence             │ │     │ elected
//	 │                        held ◄────────────────────┼─┘     ▼
//	 │                              outranked by a claim│    yielding
//	 │  elected, owner is alive          told, silence, │       │
//	 ├─────────────────────────► awaiting ──────────────┤       │
//	 │  elected, was the owner         or out of patience       │
//	 └──────────────────────────────────────────────────┘       │
//	idle ◄───────────────────────────────────────────────────────┘
//	                               another node answers for it
//
// A hand-over is a few frames. The elected node probes twice within 150 ms; that
// asks the owner to hand over. The owner waits until the address's traffic rests, stops answering,
// and probes: that tells the elected node to take the address, and its claim is
// the last. The old owner forwards all the while and afterwards.
type ownership struct {
	addr  netip.Addr
	want  Address
	state state
	next  time.Time // when tick has something to do; zero: never, or a probe is still to be sent

	sent     int       // probes of this round
	round    time.Time // when this round began
	answered bool      // somebody else answered since the last probe
	holder   claim     // who holds it; zero when nobody is known to
	told     bool      // that it is held
	deferTo  string    // node that won a dispute, which isn't begun anew with it
	leaveTo  time.Time // until then a node that answers is left to it, and silence alone says nothing
	heard    bool      // somebody answers since this node is back on the LAN

	since     time.Time // of owning
	nextProbe time.Time

	asked   string    // the node that last probed
	askedAt time.Time // when it did
	asking  bool      // and does so as one that waits for a hand-over
	until   time.Time // awaiting, yielding: end of patience; zero: not asked yet
	telling bool      // the probe that was asked for tells the elected node to take over
	toldAt  time.Time // when it was told
	muted   bool      // questions aren't answered for a moment: another node does, or is about to

	rival       claim     // the last claim of another node
	rivalAt     time.Time // zero: none
	disputed    time.Time // since when
	disputeTold bool
	insisted    time.Time // last announcement against it
	insistAt    time.Time // next one; zero: none
	foreign     claim     // the stranger that uses it; zero: none
	foreignAt   time.Time
	foreignTold time.Time
	defended    time.Time
}

// elect applies what is wanted from now on.
func (o *ownership) elect(now time.Time, w *world, want Address) effects {
	was := o.want
	if !slices.Equal(o.want.Order, want.Order) {
		o.deferTo = ""
	}
	o.want = want
	switch {
	case want.Mine && o.state == yielding:
		return o.take(now, w)
	case want.Mine && !was.Mine && o.state == idle:
		return o.begin(now, w)
	case !want.Mine && o.state.serves() && (want.Owner == "" || len(want.Links) == 0):
		// Without a link it would wait in vain for the new owner's claim, and
		// when it is back it has to find out what it missed.
		fx := o.stop()
		fx.events = []Event{{Kind: Released, Address: o.addr}}
		return fx
	case !want.Mine && o.state == owning:
		return o.yield(now)
	case o.state == yielding && (want.Owner != was.Owner || want.Unserved != was.Unserved):
		return o.yield(now)
	case !want.Mine && !o.state.serves() && o.state != idle:
		return o.stop()
	}
	return effects{}
}

// begin is the way of an elected node to owning.
func (o *ownership) begin(now time.Time, w *world) effects {
	o.sent, o.answered, o.holder, o.told, o.leaveTo, o.heard = 0, false, claim{}, false, time.Time{}, false
	switch o.want.Previous {
	case Nobody:
		o.state, o.next = probing, now
	case Down:
		o.state, o.next = verifying, now
	case Unheard:
		o.state, o.next, o.leaveTo = verifying, now, now.Add(returnWait)
	case Alive:
		o.await(now)
	case Itself:
		return o.take(now, w)
	}
	return o.tick(now, w, sensed{})
}

// await has the owner, which is alive, hand over.
func (o *ownership) await(now time.Time) {
	o.state, o.sent, o.next, o.until = awaiting, 0, now, now.Add(awaitPatience)
}

func (o *ownership) take(now time.Time, w *world) effects {
	*o = ownership{addr: o.addr, want: o.want, state: owning, since: now, foreign: o.foreign, foreignAt: o.foreignAt, foreignTold: o.foreignTold}
	// The first probe at a random moment, so that addresses taken together
	// aren't probed together for ever.
	o.nextProbe = now.Add(w.spread(probeEvery * 3 / 4))
	o.next = o.nextProbe
	return effects{announce: startAnnouncing, events: []Event{{Kind: TookOver, Address: o.addr}}}
}

// answers reports whether questions for the address are to be answered.
func (o *ownership) answers() bool { return o.state.serves() && !o.muted }

// stop ends all activity for the address.
func (o *ownership) stop() effects {
	*o = ownership{addr: o.addr, want: o.want}
	return effects{announce: stopAnnouncing}
}

// yield goes on answering without announcing, until the elected node does.
func (o *ownership) yield(now time.Time) effects {
	o.state, o.next, o.insistAt, o.until = yielding, now.Add(yieldGap), time.Time{}, time.Time{}
	o.telling, o.muted = false, false
	if o.awaited(now) || o.overtaken(now) {
		o.next = now
	}
	return effects{announce: stopAnnouncing}
}

// askedBy takes in a probe of another node. One that waits for a hand-over probes
// twice as often as one that leaves the address where it is for a while.
func (o *ownership) askedBy(now time.Time, node string) {
	o.asking = node == o.asked && now.Sub(o.askedAt) < askedWithin
	o.asked, o.askedAt = node, now
}

// wanted reports whether the elected node is about to take the address over.
func (o *ownership) wanted(now time.Time) bool {
	return o.state == yielding && o.asked != "" && o.asked == o.want.Owner && now.Sub(o.askedAt) < awaitedFor
}

// awaited reports whether it waits for this node to hand the address over. What
// this node can't serve is better off with a node that isn't quite ready.
func (o *ownership) awaited(now time.Time) bool {
	return o.wanted(now) && (o.asking || o.want.Unserved)
}

// overtaken reports whether the elected node has claimed the address already.
func (o *ownership) overtaken(now time.Time) bool {
	return o.rival.node != "" && o.rival.node == o.want.Owner && now.Sub(o.rivalAt) < disputeGap
}

// handOver tells the elected node to take over as soon as the traffic rests: a
// connection that is open when its packets begin to reach another node is lost.
// There is nothing to wait for if this node can't serve it anyhow, nor if the
// elected node has claimed the address already; it may have been elected no more
// since, and wait for this node's claim, which its silence shows. One that isn't
// known to wait is probed now and then, in case its claim was lost. The last
// argument is how long ago this was due: where the machine was busy with others,
// packets may have come that aren't read yet.
func (o *ownership) handOver(now, rest time.Time, late time.Duration) effects {
	if o.muted {
		// It doesn't take over, so it doesn't wait any longer.
		o.muted, o.asked, o.asking, o.until = false, "", false, time.Time{}
	}
	if again := o.toldAt.Add(yieldGap); now.Before(again) {
		o.next = again
		return effects{}
	}
	if o.awaited(now) && o.until.IsZero() {
		o.until = now.Add(handOverPatience)
	}
	switch {
	case o.overtaken(now), o.want.Unserved && o.awaited(now):
	case o.wanted(now) && !o.awaited(now) && now.Before(o.askedAt.Add(askedWithin)):
		o.next = o.askedAt.Add(askedWithin)
		return effects{}
	case !o.awaited(now):
		return effects{probe: calmProbe}
	case late >= heldUp && now.Before(o.until):
		o.next = now.Add(heldUp)
		return effects{}
	case rest.After(now) && now.Before(o.until):
		o.next = rest
		if o.until.Before(rest) {
			o.next = o.until
		}
		return effects{}
	}
	o.telling = true
	return effects{probe: urgentProbe}
}

func (o *ownership) yieldTo(c claim) effects {
	fx := o.stop()
	fx.events = []Event{o.event(Yielded, c)}
	return fx
}

func (o *ownership) event(k EventKind, c claim) Event {
	return Event{Kind: k, Address: o.addr, Link: c.link, MAC: c.mac, Node: c.node}
}

// probed says that the probe that was asked for has been sent. A probe that
// could not be sent doesn't count, so that a link that is down is no silence.
func (o *ownership) probed(now time.Time, sent bool) {
	if sent {
		o.sent++
	}
	switch o.state {
	case probing:
		o.next = now.Add(firstGap)
		if o.sent >= firstProbes {
			o.next = now.Add(firstWait)
		}
	case verifying, awaiting:
		o.next = now.Add(opinionGap)
		if now.Before(o.leaveTo) {
			o.next = now.Add(returnGap)
		}
	case held:
		o.next = now.Add(heldGap)
	case yielding:
		o.next = now.Add(heldGap)
		if o.telling && sent {
			o.muted, o.toldAt, o.next = true, now, now.Add(handOverWait)
		}
		o.telling = false
	}
}

// tick does what is due.
func (o *ownership) tick(now time.Time, w *world, s sensed) effects {
	late := now.Sub(o.next)
	o.next = time.Time{}
	switch o.state {
	case probing:
		return o.ask(now, w, s.witness, calmProbe, firstProbes)
	case awaiting:
		if !now.Before(o.until) {
			return o.take(now, w)
		}
		return o.ask(now, w, s.witness, urgentProbe, opinionProbes)
	case verifying:
		return o.ask(now, w, s.witness, urgentProbe, opinionProbes)
	case held:
		if o.sent > 0 && !o.answered {
			o.state, o.sent = verifying, 0
			return o.ask(now, w, s.witness, urgentProbe, opinionProbes)
		}
		o.answered = false
		return effects{probe: calmProbe}
	case owning:
		return o.watch(now, w)
	case yielding:
		return o.handOver(now, s.rest, late)
	}
	return effects{}
}

// ask sends so many probes and takes the address if nobody has said that it is
// his. Where nobody can be heard, silence says nothing; on a link that is just
// up it says nothing for a while, because the switch may not forward yet.
func (o *ownership) ask(now time.Time, w *world, witness time.Time, kind probeOp, times int) effects {
	if o.sent == 0 {
		o.round = now
	}
	switch {
	case o.sent < times || now.Before(o.leaveTo) && !witness.After(o.round):
		return effects{probe: kind, witnesses: o.want.NeedsWitness || now.Before(o.leaveTo)}
	case o.want.NeedsWitness && !witness.After(o.round):
		return o.hold(now, claim{})
	}
	return o.take(now, w)
}

// hold waits until nobody else answers or, with no claim, until a witness does.
func (o *ownership) hold(now time.Time, c claim) effects {
	tell := !o.told || o.holder.mac != c.mac
	o.state, o.holder, o.told = held, c, true
	o.sent, o.answered, o.next = 0, c != claim{}, now.Add(heldGap)
	if !tell {
		return effects{}
	}
	return effects{events: []Event{o.event(Held, c)}}
}
