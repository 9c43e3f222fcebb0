package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/herald-lb/herald/test/lab"
)

func idle() Benchmark {
	return Benchmark{
		Name:  "idle",
		About: "what members send each other, and the CPU of an announcer, while nothing happens",
		Run:   runIdle,
	}
}

func runIdle(ctx context.Context, e *Env) (Result, error) {
	result := Result{Notes: []string{
		"The runs of these rows are nodes. Counted on the bridge: everything from or to port 7946 by UDP and TCP, with IP headers and without Ethernet's.",
	}}
	for _, nodes := range e.Nodes {
		rows, err := e.idleRows(ctx, nodes)
		if err != nil {
			return result, err
		}
		result.Rows = append(result.Rows, rows...)
	}
	return result, nil
}

// idleRows watches a cluster of so many nodes.
func (e *Env) idleRows(ctx context.Context, nodes int) (rows []Row, err error) {
	c, err := e.Cluster(ctx, nodes)
	if err != nil {
		return nil, err
	}
	if err := c.startCounters(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stopCounters(context.WithoutCancel(ctx))) }()
	if err := pause(ctx, min(e.Idle, 30*time.Second)); err != nil {
		return nil, err
	}
	announcers, err := c.announcers(ctx)
	if err != nil {
		return nil, err
	}
	cpu := map[string]time.Duration{}
	for node, p := range announcers {
		if cpu[node], err = c.cpu(p); err != nil {
			return nil, err
		}
	}
	before, err := c.counters(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := pause(ctx, e.Idle); err != nil {
		return nil, err
	}
	after, err := c.counters(ctx)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(start).Seconds()
	name := func(what string) string { return fmt.Sprintf("%d nodes, %s each", nodes, what) }
	packets, bytes, load := Row{Name: name("packets sent"), Unit: "/s"}, Row{Name: name("bytes sent"), Unit: "/s"}, Row{Name: name("announcer's CPU"), Unit: "%"}
	for node, p := range announcers {
		now, err := c.cpu(p)
		if err != nil {
			return nil, err
		}
		packets.Values = append(packets.Values, (after[node].Packets-before[node].Packets)/seconds)
		bytes.Values = append(bytes.Values, (after[node].Bytes-before[node].Bytes)/seconds)
		load.Values = append(load.Values, 100*(now-cpu[node]).Seconds()/seconds)
	}
	return []Row{packets, bytes, load}, nil
}

// counter is one of nftables.
type counter struct {
	Name           string
	Packets, Bytes float64
}

// startCounters counts at the switch what each node sends to members.
func (c *cluster) startCounters(ctx context.Context) error {
	var rules strings.Builder
	rules.WriteString("table bridge bench {\n")
	for _, node := range c.Nodes() {
		fmt.Fprintf(&rules, "counter %s { }\n", node)
	}
	rules.WriteString("chain in {\ntype filter hook prerouting priority 0;\n")
	for _, node := range c.Nodes() {
		for _, end := range []string{"sport", "dport"} {
			fmt.Fprintf(&rules, "iifname %q meta l4proto { tcp, udp } th %s 7946 counter name %q accept\n", node, end, node)
		}
	}
	rules.WriteString("}\n}\n")
	return c.nft(ctx, rules.String())
}

func (c *cluster) stopCounters(ctx context.Context) error {
	return c.nft(ctx, "delete table bridge bench\n")
}

// nft gives the switch rules.
func (c *cluster) nft(ctx context.Context, rules string) error {
	cmd, err := c.Command(ctx, lab.Switch, "nft", "-f", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// counters reads the counters, by node.
func (c *cluster) counters(ctx context.Context) (map[string]counter, error) {
	out, err := c.Exec(ctx, lab.Switch, "nft", "-j", "list", "counters", "table", "bridge", "bench")
	if err != nil {
		return nil, err
	}
	return parseCounters([]byte(out))
}

func parseCounters(text []byte) (map[string]counter, error) {
	var list struct {
		Nftables []struct{ Counter *counter }
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("nft's counters: %w", err)
	}
	out := map[string]counter{}
	for _, entry := range list.Nftables {
		if entry.Counter != nil {
			out[entry.Counter.Name] = *entry.Counter
		}
	}
	return out, nil
}
