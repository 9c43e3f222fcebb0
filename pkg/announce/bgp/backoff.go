package bgp

import (
	"math/rand/v2"
	"time"
)

const (
	firstPause = time.Second      // when connect-time does not say
	longest    = 30 * time.Second // unless connect-time is longer
	quickRetry = 300 * time.Millisecond

	// steady is how long a session must have held for its end not to count as
	// one more failure: a router that greets and hangs up makes no progress.
	steady = 30 * time.Second
)

// backoff is the growing pause between attempts at one router.
type backoff struct {
	failures int
	rand     *rand.Rand
}

// next is the pause after an attempt that was established for the time given:
// zero if it never was. All nodes lose a router in the same moment, and all
// must not come back in the same one: hence chance.
func (b *backoff) next(first, held time.Duration) time.Duration {
	if held >= steady {
		b.failures = 0
		return time.Duration(b.rand.Int64N(int64(quickRetry)))
	}
	if first <= 0 {
		first = firstPause
	}
	pause := first << min(b.failures, 10)
	pause = min(pause, max(longest, first))
	b.failures++
	return pause*3/4 + time.Duration(b.rand.Int64N(int64(pause/2)+1))
}
