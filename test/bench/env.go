package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
)

// Env is what benchmarks measure in: settings, and one lab at a time.
type Env struct {
	Settings
	Progress io.Writer

	cluster *cluster
}

// document is the configuration of the labs. Its addresses are on a second
// prefix of the LAN, which has room for thousands.
const document = `address-pools:
- name: many
  protocol: layer2
  addresses:
  - 10.99.128.0/17
  - fd31::99:0/112
`

// cluster is a lab with Herald on it, whose nodes and client are on the second
// prefix too.
type cluster struct {
	*herald.Cluster
	flooding bool // the host that floods is there
}

// Cluster returns a cluster of so many nodes: the one that is up, if it is of
// that size, or a new one in its place.
func (e *Env) Cluster(ctx context.Context, nodes int) (*cluster, error) {
	if e.cluster != nil && len(e.cluster.Nodes()) == nodes {
		return e.cluster, nil
	}
	if err := e.Close(ctx); err != nil {
		return nil, err
	}
	c, err := herald.Up(ctx, lab.Options{Name: "bench", Nodes: nodes, AuditLog: true, Progress: e.Progress}, document)
	if err != nil {
		return nil, err
	}
	e.cluster = &cluster{Cluster: c}
	for _, host := range append(c.Nodes(), lab.Client) {
		a, err := e.cluster.second(host)
		if err == nil {
			_, err = c.Exec(ctx, host, "ip", "addr", "add", netip.PrefixFrom(a, 16).String(), "dev", "eth0")
		}
		if err != nil {
			return nil, errors.Join(err, e.Close(context.WithoutCancel(ctx)))
		}
	}
	return e.cluster, nil
}

// second is a host's address on the second prefix: that on the LAN has the same
// last number.
func (c *cluster) second(host string) (netip.Addr, error) {
	first, err := c.Address(host, lab.LAN4.Addr())
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.AddrFrom4([4]byte{10, 99, 0, first.As4()[3]}), nil
}

// Close takes down the cluster that is up.
func (e *Env) Close(ctx context.Context) error {
	if e.cluster == nil {
		return nil
	}
	c := e.cluster
	e.cluster = nil
	return c.Down(ctx)
}

// say tells what is going on.
func (e *Env) say(format string, args ...any) {
	fmt.Fprintf(e.Progress, "         "+format+"\n", args...)
}

// pause waits for a time.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
