package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/lab"
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
	t.Cleanup(func() { c.must(t, c.MendCable(owner)); c.must(t, c.WaitNodesReady(t.Context(), owner)) })
	took := eventually(t, 15*time.Second, "another node answers", func() error {
		now, err := c.WhoHas(t.Context(), lab.Client, a)
		if err != nil {
			return err
		}
		if now == owner {
			return errors.New("the node without a cable answers")
		}
		return nil
	})
	t.Logf("%s had %v; another node answered ARP %v after its cable was cut", owner, a, took)
	c.answers(t, a, 80)
}

// onlyOwner waits until one node answers for an address, again and again.
func (c *cluster) onlyOwner(t *testing.T, a netip.Addr) string {
	t.Helper()
	var last string
	same := 0
	eventually(t, soon, fmt.Sprintf("one node answers for %v", a), func() error {
		who, err := c.WhoHas(t.Context(), lab.Client, a)
		if err != nil {
			same = 0
			return err
		}
		if who != last {
			last, same = who, 0
		}
		if same++; same < 10 {
			return fmt.Errorf("%s answered %d times in a row", who, same)
		}
		return nil
	})
	return last
}
