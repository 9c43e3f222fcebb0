package member

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	rejoinEvery   = time.Second
	rejoinAtATime = 2

	// A node that just started and knows nobody yet asks more often.
	eagerEvery = 250 * time.Millisecond
	eagerFor   = 5 * time.Second
)

// greetings are the times after the start at which a member joins one of those
// it has already, too: who still takes this node for one on another address
// learns better only from a join.
var greetings = [...]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// rejoinAfter is a second, give or take a quarter, so that nodes don't dial in
// step.
func rejoinAfter(r *rand.Rand) time.Duration {
	return rejoinEvery*3/4 + time.Duration(r.Int64N(int64(rejoinEvery/2)))
}

// rejoinChoice picks the addresses to join: at most two of those known that no
// live member has, as memberlist never looks for lost members by itself.
func rejoinChoice(known, alive []netip.Addr, r *rand.Rand) []netip.Addr {
	have := make(map[netip.Addr]struct{}, len(alive))
	for _, a := range alive {
		have[a] = struct{}{}
	}
	var missing []netip.Addr
	for _, a := range known {
		if _, ok := have[a]; !ok {
			missing = append(missing, a)
			have[a] = struct{}{}
		}
	}
	r.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
	return missing[:min(len(missing), rejoinAtATime)]
}

// greetingDue reports whether one of the greetings lies between two times
// after the start.
func greetingDue(before, now time.Duration) bool {
	for _, g := range greetings {
		if before < g && g <= now {
			return true
		}
	}
	return false
}
