package e2e

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/herald"
)

// stressTime is how long each stress lasts here; the soak test takes longer.
const stressTime = 10 * time.Second

// What is not a failure moves nothing: no address changes its node, and no
// second node answers for one.
func TestStressMovesNothing(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "stress", 4)
	for _, stress := range []struct {
		name string
		put  func(t *testing.T)
	}{
		{"all CPUs busy", func(t *testing.T) {
			stop, err := c.Busy(max(runtime.NumCPU(), 2))
			c.must(t, err)
			time.Sleep(stressTime)
			c.must(t, stop())
		}},
		{"few CPU shares", func(t *testing.T) {
			stop, err := c.Crowd(runtime.NumCPU())
			c.must(t, err)
			time.Sleep(stressTime)
			c.must(t, stop())
		}},
		{"one frame of ten lost", func(t *testing.T) {
			clear, err := c.Loss(t.Context(), 10)
			c.must(t, err)
			time.Sleep(stressTime)
			c.must(t, clear())
		}},
		{"announcers stall for 300 ms", func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 1))
			for end := time.Now().Add(stressTime); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				c.must(t, c.Stall(c.Nodes()[random.IntN(len(c.Nodes()))], 300*time.Millisecond))
			}
		}},
	} {
		t.Run(stress.name, func(t *testing.T) {
			s.settled(t)
			o := s.WatchOwners(s.addresses)
			defer o.Stop()
			time.Sleep(500 * time.Millisecond)
			stress.put(t)
			time.Sleep(time.Second)
			unmoved(t, o, s.addresses)
		})
	}
	for _, node := range c.Nodes() {
		text, err := c.Metrics(t.Context(), node)
		c.must(t, err)
		t.Logf("%s found members down %v times, %v times too late itself", node, herald.Metric(text, "herald_member_down_total"), herald.Metric(text, "herald_member_late_ticks_total"))
	}
}
