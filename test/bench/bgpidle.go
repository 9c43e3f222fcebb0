package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/router"
)

func bgpIdle() Benchmark {
	return Benchmark{
		Name:  "bgp-idle",
		About: fmt.Sprintf("what a node with BGP sessions with %d routers sends them, and the CPU of its announcer, while nothing happens", routers),
		Run:   runBGPIdle,
	}
}

// tor is one of the routers.
type tor struct {
	name    string
	address netip.Addr
	bird    *router.BIRD
}

func runBGPIdle(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	tors, err := c.startTors(ctx)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if ctx.Err() == nil {
			err = errors.Join(err, c.Configure(ctx, document, nil), stopTors(ctx, tors))
		}
	}()
	traffic := []string{"meta l4proto tcp th dport 179", "meta l4proto udp th dport 3784"}
	without, err := e.watchIdle(ctx, c, traffic)
	if err != nil {
		return Result{}, err
	}
	for _, mode := range []struct{ name, settings, bfd string }{
		{fmt.Sprintf("%d sessions", routers), "", "off"},
		{fmt.Sprintf("%d sessions with BFD each 50 ms", routers), ", bfd-profile: fast", "on"},
	} {
		if err := c.peerWith(ctx, tors, mode.settings, mode.bfd); err != nil {
			return result, err
		}
		use, err := e.watchIdle(ctx, c, traffic)
		if err != nil {
			return result, err
		}
		rows := use.rows(mode.name)
		rows[2].Beside, rows[2].BesideName = without.cpu, "no peers"
		e.say("%s: %.0f packets/s, %.0f B/s, CPU %.1f %%; without peers %.1f %%", mode.name, use.packets.Median(), use.bytes.Median(), use.cpu.Median(), without.cpu.Median())
		result.Rows = append(result.Rows, rows...)
	}
	result.Notes = []string{
		"The runs of these rows are nodes. Counted on the bridge: what the nodes send to the routers' BGP and BFD ports, with IP headers and without Ethernet's; the routers, BIRD on hosts of their own, send as much. CPU is in percent of one core, and includes what the members do and the probes of the kubelet: beside it is the same cluster before it had peers.",
	}
	return result, nil
}

// startTors starts the routers.
func (c *cluster) startTors(ctx context.Context) ([]*tor, error) {
	var tors []*tor
	for i := range routers {
		t := &tor{name: fmt.Sprintf("tor%d", i+1)}
		tors = append(tors, t)
		if err := c.AddHost(t.name); err != nil {
			return tors, err
		}
		var err error
		if t.address, err = c.Address(t.name, lab.LAN4.Addr()); err != nil {
			return tors, err
		}
		config, err := c.torConfig(t, "off")
		if err != nil {
			return tors, err
		}
		if t.bird, err = router.StartBIRD(ctx, c.Lab, t.name, config); err != nil {
			return tors, err
		}
	}
	return tors, nil
}

func stopTors(ctx context.Context, tors []*tor) error {
	var errs []error
	for _, t := range tors {
		errs = append(errs, t.bird.Stop(ctx))
	}
	return errors.Join(errs...)
}

// torConfig is a router's configuration, with BFD on or off.
func (c *cluster) torConfig(t *tor, bfd string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "router id %v;\nprotocol device {}\nprotocol bfd { interface \"eth0\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }\n", t.address)
	for _, node := range c.Nodes() {
		a, err := c.Address(node, t.address)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "protocol bgp %s { local %v as %d; neighbor %v as %d; direct; passive on; bfd %s; ipv4 { import all; export none; }; }\n",
			node, t.address, routerASN, a, nodeASN, bfd)
	}
	return b.String(), nil
}

// peerWith makes the routers the nodes' peers and waits until all sessions are
// up, and BFD's if it is on.
func (c *cluster) peerWith(ctx context.Context, tors []*tor, settings, bfd string) error {
	peers := ""
	for _, t := range tors {
		config, err := c.torConfig(t, bfd)
		if err != nil {
			return err
		}
		if err := t.bird.Configure(ctx, config); err != nil {
			return err
		}
		peers += peer(t.name, t.address, settings)
	}
	if err := c.Configure(ctx, routedDocument(peers), nil); err != nil {
		return err
	}
	for _, t := range tors {
		looks := map[string]string{"show protocols": "Established"}
		if bfd == "on" {
			looks["show bfd sessions"] = " Up "
		}
		for command, word := range looks {
			err := c.WaitFor(ctx, lab.Wait{
				What: "the sessions with " + t.name, Timeout: time.Minute,
				Done: func(ctx context.Context) (bool, string) {
					out, err := t.bird.Show(ctx, command)
					return err == nil && strings.Count(out, word) == len(c.Nodes()), fmt.Sprint(out, err)
				},
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
