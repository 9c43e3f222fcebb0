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
func (e *Env) idleRows(ctx context.Context, nodes int) ([]Row, error) {
	c, err := e.Cluster(ctx, nodes)
	if err != nil {
		return nil, err
	}
	use, err := e.watchIdle(ctx, c, []string{"meta l4proto { tcp, udp } th sport 7946", "meta l4proto { tcp, udp } th dport 7946"})
	if err != nil {
		return nil, err
	}
	return use.rows(fmt.Sprintf("%d nodes", nodes)), nil
}

// idleUse is what is used while nothing happens, of each node in their order.
type idleUse struct{ packets, bytes, cpu Sample }

func (u idleUse) rows(name string) []Row {
	return []Row{
		{Name: name + ", packets sent each", Unit: "/s", Values: u.packets},
		{Name: name + ", bytes sent each", Unit: "/s", Values: u.bytes},
		{Name: name + ", announcer's CPU each", Unit: "%", Values: u.cpu},
	}
}

// watchIdle lets everything settle and then watches the announcers, and what of
// some traffic the nodes send.
func (e *Env) watchIdle(ctx context.Context, c *cluster, traffic []string) (use idleUse, err error) {
	if err := c.startCounters(ctx, traffic); err != nil {
		return use, err
	}
	defer func() { err = errors.Join(err, c.stopCounters(context.WithoutCancel(ctx))) }()
	if err := pause(ctx, min(e.Idle, 30*time.Second)); err != nil {
		return use, err
	}
	cpu, before, err := c.counted(ctx)
	if err != nil {
		return use, err
	}
	start := time.Now()
	if err := pause(ctx, e.Idle); err != nil {
		return use, err
	}
	cpuAfter, after, err := c.counted(ctx)
	if err != nil {
		return use, err
	}
	seconds := time.Since(start).Seconds()
	for _, node := range c.Nodes() {
		use.packets = append(use.packets, (after[node].Packets-before[node].Packets)/seconds)
		use.bytes = append(use.bytes, (after[node].Bytes-before[node].Bytes)/seconds)
		use.cpu = append(use.cpu, 100*(cpuAfter[node]-cpu[node]).Seconds()/seconds)
	}
	return use, nil
}

// counted reads the CPU time of each announcer and the counters.
func (c *cluster) counted(ctx context.Context) (map[string]time.Duration, map[string]counter, error) {
	announcers, err := c.announcers(ctx)
	if err != nil {
		return nil, nil, err
	}
	cpu := map[string]time.Duration{}
	for node, p := range announcers {
		if cpu[node], err = c.cpu(p); err != nil {
			return nil, nil, err
		}
	}
	counters, err := c.counters(ctx)
	return cpu, counters, err
}

// counter is one of nftables.
type counter struct {
	Name           string
	Packets, Bytes float64
}

// startCounters counts at the switch what each node sends of some traffic.
func (c *cluster) startCounters(ctx context.Context, traffic []string) error {
	var rules strings.Builder
	rules.WriteString("table bridge bench {\n")
	for _, node := range c.Nodes() {
		fmt.Fprintf(&rules, "counter %s { }\n", node)
	}
	rules.WriteString("chain in {\ntype filter hook prerouting priority 0;\n")
	for _, node := range c.Nodes() {
		for _, match := range traffic {
			fmt.Fprintf(&rules, "iifname %q %s counter name %q accept\n", node, match, node)
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
