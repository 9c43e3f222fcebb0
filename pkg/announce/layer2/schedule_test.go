package layer2

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// play runs an announcer to an end and returns what it sent, and when since the
// beginning.
type sent struct {
	at    time.Duration
	addr  netip.Addr
	forms forms
}

func play(s *announcer, start time.Time, until time.Duration) []sent {
	var all []sent
	now := start
	for {
		for a, ok := s.next(now); ok; a, ok = s.next(now) {
			all = append(all, sent{now.Sub(start), a.addr, a.forms})
		}
		at, ok := s.wake(now)
		if !ok || at.Sub(start) > until {
			return all
		}
		now = later(at, now.Add(time.Microsecond))
	}
}

func newTestAnnouncer() *announcer { return newAnnouncer(rand.New(rand.NewPCG(7, 7))) }

func TestSeries(t *testing.T) {
	request, reply, both := forms{request: true}, forms{reply: true}, forms{request: true, reply: true}
	ms := time.Millisecond
	tests := []struct {
		addr netip.Addr
		want []sent
	}{
		{vip4, []sent{{0, vip4, request}, {0, vip4, reply}, {100 * ms, vip4, both}, {1250 * ms, vip4, both}, {2500 * ms, vip4, both},
			{5000 * ms, vip4, both}, {10_000 * ms, vip4, both}, {30_000 * ms, vip4, both}}},
		{vip6, []sent{{0, vip6, request}, {100 * ms, vip6, both}, {1250 * ms, vip6, both}, {2500 * ms, vip6, both},
			{5000 * ms, vip6, both}, {10_000 * ms, vip6, both}, {30_000 * ms, vip6, both}}},
	}
	for _, tt := range tests {
		t.Run(tt.addr.String(), func(t *testing.T) {
			s := newTestAnnouncer()
			start := time.Unix(1000, 0)
			s.start(tt.addr, start)
			got := play(s, start, 170*time.Second)
			for i := range got {
				got[i].at = got[i].at.Round(ms)
			}
			equal := cmp.Options{cmp.AllowUnexported(sent{}, forms{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
			if diff := cmp.Diff(tt.want, got, equal); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefreshes(t *testing.T) {
	s := newTestAnnouncer()
	start := time.Unix(1000, 0)
	s.start(vip4, start)
	got := play(s, start, time.Hour)
	refreshes := got[8:]
	for i, r := range refreshes[1:] {
		gap := r.at - refreshes[i].at
		if gap < refreshEvery*4/5 || gap > refreshEvery*6/5 {
			t.Errorf("gap of %v", gap)
		}
	}
	if len(refreshes) < 16 || len(refreshes) > 25 {
		t.Errorf("%d refreshes in an hour", len(refreshes))
	}
}

func TestHealing(t *testing.T) {
	s := newTestAnnouncer()
	start := time.Unix(1000, 0)
	s.start(vip4, start)
	play(s, start, time.Minute)
	at := start.Add(time.Minute)
	s.hasten(at)
	got := play(s, at, 15*time.Second)
	if len(got) < 9 || len(got) > 15 {
		t.Errorf("%d announcements in the first 15 s: %v", len(got), got)
	}
	at = at.Add(15 * time.Second)
	play(s, at, time.Hour)
	at = at.Add(time.Hour)
	if got := play(s, at, 10*time.Minute); len(got) < 5 || len(got) > 12 {
		t.Errorf("%d announcements in 10 minutes after an hour: %v", len(got), got)
	}
	s.healed()
	at = at.Add(10 * time.Minute)
	s.again(at)
	if got := play(s, at, 200*time.Millisecond); len(got) != 1 || got[0].at != 0 {
		t.Errorf("on healing: %v", got)
	}
}

// TestPacing starts thousands at once: every first frame goes before any second
// one, at 10,000 a second, and repeats follow at 2,000.
func TestPacing(t *testing.T) {
	const count = 5000
	s := newTestAnnouncer()
	start := time.Unix(1000, 0)
	a := netip.MustParseAddr("10.10.0.0")
	for range count {
		a = a.Next()
		s.start(a, start)
	}
	got := play(s, start, 9*time.Second)
	for i, x := range got[:count] {
		if x.forms != (forms{request: true}) {
			t.Fatalf("frame %d is no first one", i)
		}
	}
	if last := got[count-1].at; last < 450*time.Millisecond || last > 550*time.Millisecond {
		t.Errorf("last first frame after %v", last)
	}
	frames := 0
	for _, x := range got[count:] {
		frames += x.forms.count()
	}
	if limit := 9*repeatPerSecond + announceBurst; frames > limit || frames < limit*4/5 {
		t.Errorf("%d further frames in 9 s", frames)
	}
}

// TestAnnouncerProperties holds for any sequence of calls: what was stopped is
// silent, and what was not goes on for ever.
func TestAnnouncerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newTestAnnouncer()
		now := time.Unix(1000, 0)
		on := make(map[netip.Addr]bool)
		addresses := []netip.Addr{vip4, vip6, other4, other6}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			a := rapid.SampledFrom(addresses).Draw(t, "address")
			switch rapid.SampledFrom([]string{"start", "stop", "repeat", "restart", "again", "wait"}).Draw(t, "op") {
			case "start":
				s.start(a, now)
				on[a] = true
			case "stop":
				s.stop(a)
				delete(on, a)
			case "repeat":
				s.repeat(a, now)
			case "restart":
				s.restart(now)
			case "again":
				s.again(now)
			case "wait":
				wait := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "wait"))
				for _, x := range play(s, now, wait) {
					if !on[x.addr] {
						t.Fatalf("%s was announced after it was stopped", x.addr)
					}
				}
				now = now.Add(wait)
			}
			for _, a := range addresses {
				if s.announces(a) != on[a] {
					t.Fatalf("%s: announces is %v", a, !on[a])
				}
			}
		}
		if _, ok := s.wake(now); ok != (len(on) > 0) {
			t.Fatalf("wakes with %d addresses: %v", len(on), ok)
		}
	})
}

func TestProber(t *testing.T) {
	p := newProber()
	now := time.Unix(1000, 0)
	p.ask(vip4, calmProbe, now)
	p.ask(vip6, urgentProbe, now)
	p.ask(vip4, urgentProbe, now)
	p.ask(other4, calmProbe, now)
	p.ask(other6, calmProbe, now)
	p.forget(other6)
	var got []string
	for a, ok := p.next(now); ok; a, ok = p.next(now) {
		got = append(got, a.String())
	}
	slices.Sort(got[:2])
	if diff := cmp.Diff([]string{vip4.String(), vip6.String(), other4.String()}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := p.wake(now); ok {
		t.Error("wakes for nothing")
	}
}

func TestGuard(t *testing.T) {
	g := newGuard()
	now := time.Unix(1000, 0)
	allowed := func(n int, mac byte, a netip.Addr) (count int) {
		for range n {
			if g.allow(now, macOf(int(mac)), a) {
				count++
			}
		}
		return count
	}
	if got := allowed(1000, 1, vip4); got != repliesPerSecond {
		t.Errorf("%d replies to a flood", got)
	}
	if got := allowed(10, 1, vip6); got != 10 {
		t.Errorf("%d of 10 for another address", got)
	}
	if got := allowed(10, 2, vip4); got != 10 {
		t.Errorf("%d of 10 to another client", got)
	}
	now = now.Add(time.Second)
	if got := allowed(1, 1, vip4); got != 1 {
		t.Error("no reply a second later")
	}
}
