package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestOwnersCableCut(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "cable")
	c.workload(t, ns, "web", 3, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	c.answers(t, a, 80)
	owner := c.owner(t, a)
	c.must(t, c.CutCable(owner))
	t.Cleanup(func() { c.must(t, c.MendCable(owner)); c.must(t, c.WaitNodesReady(context.Background(), owner)) })
	took := eventually(t, 15*time.Second, "another node answers", func() error {
		now, err := c.who(t, a)
		if err == nil && (now == "" || now == owner) {
			err = fmt.Errorf("%q answers", now)
		}
		return err
	})
	t.Logf("%s had %v; another node answered ARP %v after its cable was cut", owner, a, took)
	c.answers(t, a, 80)
}
