package layer2

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// Pacing. Takeovers have lanes of their own: clients wait for these frames, and
// a client's kernel takes ten thousand a second without effort. Everything else
// is insurance and goes slowly, for the sake of switches that police ARP.
const (
	firstPerSecond  = 10_000
	repeatPerSecond = 2_000
	announceBurst   = 100

	refreshEvery = 3 * time.Minute // below the usual 300 s of a switch's table

	// While a known node is out of sight, announcements repeat more often: the
	// LAN may be split, and when it heals the two owners have to notice each
	// other, also if the membership doesn't. First each healEvery, then in
	// proportion to the time that has passed, so that a split of an hour is
	// noticed in about a minute and a node that is off for a week costs nothing.
	healEvery     = 1250 * time.Millisecond
	healFraction  = 48
	healPerSecond = 100 // frames, on one link
)

// forms are the frames of one announcement. IPv6 has only one form, which
// stands for the request.
type forms struct{ request, reply bool }

func (f forms) count() int {
	if f.request && f.reply {
		return 2
	}
	return 1
}

// step is one announcement of the series after a takeover.
type step struct {
	after time.Duration // since the one before
	forms forms
}

// stepRepeat is the first step that isn't part of the takeover itself.
const stepRepeat = 2

// stepAt is the series: the takeover itself; the second form; a repeat in case
// that was lost; one more than a second later, because old kernels lock an entry
// for a second after any change and each refused frame seems to begin that second
// anew, hence no denser repeats; and up to 30 s after, when switch ports that were
// down begin to forward. From then on false: refreshes follow.
func stepAt(i int) (step, bool) {
	both := forms{request: true, reply: true}
	switch i {
	case 0:
		return step{0, forms{request: true}}, true
	case 1:
		return step{0, forms{reply: true}}, true
	case stepRepeat:
		return step{100 * time.Millisecond, both}, true
	case 3:
		return step{1150 * time.Millisecond, both}, true
	case 4:
		return step{1250 * time.Millisecond, both}, true
	case 5:
		return step{2500 * time.Millisecond, both}, true
	case 6:
		return step{5 * time.Second, both}, true
	case 7:
		return step{20 * time.Second, both}, true
	}
	return step{refreshEvery, both}, false
}

// announcement is a frame to send: one or both forms for one address.
type announcement struct {
	addr  netip.Addr
	forms forms
}

// announcer says when which address is announced on one link. First frames of
// all addresses go before any repeat.
type announcer struct {
	first, once, later agenda[netip.Addr]
	step               map[netip.Addr]int // of the next announcement
	urgent, calm       *rate.Limiter
	chance             *rand.Rand
	missing            time.Time // since when a known node is out of sight; zero: all are there
}

func newAnnouncer(chance *rand.Rand) *announcer {
	return &announcer{
		step:   make(map[netip.Addr]int),
		urgent: rate.NewLimiter(firstPerSecond, announceBurst),
		calm:   rate.NewLimiter(repeatPerSecond, announceBurst),
		chance: chance,
	}
}

// start begins the series for a, anew if it was under way.
func (s *announcer) start(a netip.Addr, now time.Time) {
	s.later.remove(a)
	s.step[a] = 0
	s.first.set(a, now)
}

// repeat announces a once, without touching the series.
func (s *announcer) repeat(a netip.Addr, now time.Time) {
	if _, ok := s.step[a]; ok {
		s.once.set(a, now)
	}
}

// stop forgets a: nothing that was due for it is sent any more.
func (s *announcer) stop(a netip.Addr) {
	s.first.remove(a)
	s.once.remove(a)
	s.later.remove(a)
	delete(s.step, a)
}

// announces reports whether a is being announced.
func (s *announcer) announces(a netip.Addr) bool {
	_, ok := s.step[a]
	return ok
}

// restart begins the series of all addresses anew: clients may know another MAC.
func (s *announcer) restart(now time.Time) {
	for a := range s.step {
		s.start(a, now)
	}
}

// again repeats the series for all addresses without the haste of a takeover.
func (s *announcer) again(now time.Time) {
	for a, at := range s.step {
		if at >= stepRepeat {
			s.step[a] = stepRepeat
			s.later.set(a, now)
		}
	}
}

// hasten is told that a node went out of sight.
func (s *announcer) hasten(now time.Time) {
	s.missing = now
	for a := range s.step {
		due := now.Add(jitter(s.chance, s.healInterval(now)))
		if it := s.later.items[a]; it != nil && due.Before(it.due) {
			s.later.set(a, due)
		}
	}
}

// healed is told that all known nodes are in sight.
func (s *announcer) healed() { s.missing = time.Time{} }

// next returns what is to be sent at now, if anything is. Call it until it
// returns false.
func (s *announcer) next(now time.Time) (announcement, bool) {
	for _, lane := range []*agenda[netip.Addr]{&s.first, &s.once} {
		if _, due, ok := lane.peek(); !ok || due.After(now) {
			continue
		}
		if !s.urgent.AllowN(now, 1) {
			return announcement{}, false
		}
		a, _ := lane.pop(now)
		if lane == &s.once {
			return announcement{a, forms{request: true, reply: true}}, true
		}
		return s.advance(a, now), true
	}
	a, due, ok := s.later.peek()
	if !ok || due.After(now) {
		return announcement{}, false
	}
	st, _ := stepAt(s.step[a])
	if !s.calm.AllowN(now, st.forms.count()) {
		return announcement{}, false
	}
	s.later.remove(a)
	return s.advance(a, now), true
}

// advance returns the step that a is at and sets when the next one is due,
// counted from now and not from when this one was due: gaps never shrink.
func (s *announcer) advance(a netip.Addr, now time.Time) announcement {
	this, _ := stepAt(s.step[a])
	s.step[a]++
	if s.step[a] == 1 && a.Is6() {
		s.step[a]++
	}
	next, inSeries := stepAt(s.step[a])
	after := next.after
	if !inSeries {
		s.step[a]--
		after = jitter(s.chance, refreshEvery)
	}
	if !s.missing.IsZero() {
		after = min(after, jitter(s.chance, s.healInterval(now)))
	}
	s.later.set(a, now.Add(after))
	return announcement{a, this.forms}
}

// healInterval is the time between repeats while a node is out of sight. It
// stretches with the number of addresses, to keep to the budget.
func (s *announcer) healInterval(now time.Time) time.Duration {
	return max(healEvery, now.Sub(s.missing)/healFraction, time.Duration(len(s.step))*2*time.Second/healPerSecond)
}

// wake returns when next has something to say; false when never.
func (s *announcer) wake(now time.Time) (time.Time, bool) {
	var at time.Time
	found := false
	earlier := func(t time.Time) {
		if !found || t.Before(at) {
			at, found = t, true
		}
	}
	urgent := false
	for _, lane := range []*agenda[netip.Addr]{&s.first, &s.once} {
		if _, due, ok := lane.peek(); ok {
			urgent = urgent || !due.After(now)
			earlier(later(due, available(s.urgent, now, 1)))
		}
	}
	if a, due, ok := s.later.peek(); ok && !urgent {
		st, _ := stepAt(s.step[a])
		earlier(later(due, available(s.calm, now, st.forms.count())))
	}
	return at, found
}

// available returns when a limiter will have n tokens.
func available(l *rate.Limiter, now time.Time, n int) time.Time {
	missing := float64(n) - l.TokensAt(now)
	if missing <= 0 {
		return now
	}
	return now.Add(time.Duration(missing / float64(l.Limit()) * float64(time.Second)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// jitter spreads d by 20 % to either side.
func jitter(chance *rand.Rand, d time.Duration) time.Duration {
	return d*4/5 + time.Duration(chance.Int64N(int64(d*2/5)+1))
}
