package member

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// spread is what a series of detection times comes to.
type spread []time.Duration

func (s spread) median() time.Duration {
	slices.Sort(s)
	return s[len(s)/2].Round(time.Millisecond)
}

func (s spread) max() time.Duration { return slices.Max(s).Round(time.Millisecond) }

const detectionRounds = 10

// TestDetectionTimes measures how long after a fault the last of the others
// knows of it, and that all say the right cause. Medians are asserted and not
// the worst, which on a starved machine is memberlist's two seconds.
func TestDetectionTimes(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, size := range []int{3, 5} {
		l := newLab(t, size)
		time.Sleep(newcomerGrace)
		var cutting, cut, killed, back spread
		for round := range detectionRounds {
			i := round % size
			target := l.members[i]
			began := time.Now()
			l.cut(i)
			cutting = append(cutting, time.Since(began))
			cut = append(cut, l.lastDown(i, began, HostGone))
			if cut[len(cut)-1] > 300*time.Millisecond {
				t.Logf("round %d: cut %v, of it cutting %v", round, cut[len(cut)-1], cutting[len(cutting)-1])
			}
			began = time.Now()
			l.mend(i)
			back = append(back, l.lastAlive(i, began))
			l.awaitAll(size)
			time.Sleep(newcomerGrace) // all watchers have heard it again

			began = time.Now()
			target.signal(syscall.SIGKILL)
			killed = append(killed, l.lastDown(i, began, AgentGone))
			target.end()
			l.start(i)
			l.awaitAll(size)
			time.Sleep(newcomerGrace)
		}
		t.Logf("cutting took %v median %v max", cutting.median(), cutting.max())
		t.Logf("%d members, load %s: cut %v median, %v max; killed %v, %v; back after a short cut %v, %v",
			size, load(), cut.median(), cut.max(), killed.median(), killed.max(), back.median(), back.max())
		if cut.median() > 400*time.Millisecond || killed.median() > 200*time.Millisecond {
			t.Error("too slow")
		}
		l.close()
	}
}

// lastDown returns how long after a time the last of the others saw a member
// down.
func (l *lab) lastDown(i int, from time.Time, cause Cause) time.Duration {
	l.t.Helper()
	var last time.Duration
	for _, o := range l.others(i) {
		s := l.await(o, l.members[i].name, from, func(s sighting) bool { return !s.Alive })
		if s.Down != cause.String() && s.Down != Unknown.String() {
			l.t.Errorf("%s calls %s %q after %v, want %q; since two seconds before: %+v", o.name, s.Name, s.Down,
				time.Unix(0, s.At).Sub(from), cause, o.since(s.Name, from.Add(-2*time.Second)))
		}
		last = max(last, time.Unix(0, s.At).Sub(from))
	}
	return last
}

func (l *lab) lastAlive(i int, from time.Time) time.Duration {
	l.t.Helper()
	var last time.Duration
	for _, o := range l.others(i) {
		s := l.await(o, l.members[i].name, from, func(s sighting) bool { return s.Alive })
		last = max(last, time.Unix(0, s.At).Sub(from))
	}
	return last
}
