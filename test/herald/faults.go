package herald

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
	"github.com/herald-lb/herald/test/lab"
)

// Announcer is the name of the announcer's program.
const Announcer = "announcer"

// Status is what an announcer says of its state, as far as tests need it.
type Status struct {
	Ready      bool     `json:"ready"`
	WaitingFor string   `json:"waitingFor"`
	Cluster    string   `json:"cluster"` // incomplete, saved or live
	Members    []Member `json:"members"`
}

// Member is what an announcer says of another one, or of itself.
type Member struct {
	Node     string `json:"node"`
	Alive    bool   `json:"alive"`
	Ready    bool   `json:"ready"`
	Draining bool   `json:"draining"`
}

const announcements = "http://127.0.0.1:7472/debug/announcements"

// Status asks a node's announcer for its state.
func (c *Cluster) Status(ctx context.Context, node string) (Status, error) {
	var s Status
	body, err := c.Get(ctx, node, announcements)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(body), &s)
}

// Metrics asks a node's announcer for its metrics, in the text format.
func (c *Cluster) Metrics(ctx context.Context, node string) (string, error) {
	return c.Get(ctx, node, "http://127.0.0.1:7472/metrics")
}

// Metric sums the samples of a metric whose labels contain all of some texts,
// such as `event="held"`.
func Metric(text, name string, labels ...string) float64 {
	var sum float64
next:
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		space := strings.LastIndexByte(line, ' ') // there are some in labels, too
		if space < 0 {
			continue
		}
		series, value := line[:space], line[space+1:]
		if before, _, _ := strings.Cut(series, "{"); before != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue next
			}
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			sum += v
		}
	}
	return sum
}

// Resident is the memory that a node's announcer has at this moment.
func (c *Cluster) Resident(node string) (bytes int, err error) {
	pids, err := c.Pids(node, Announcer)
	if err != nil {
		return 0, err
	}
	if len(pids) != 1 {
		return 0, fmt.Errorf("node %s runs %d announcers", node, len(pids))
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pids[0]))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory of node %s's announcer: %q", node, statm)
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
}

// faultTable is the nftables table that Filter makes.
const faultTable = "fault"

// Filter drops frames that reach a node's cable and match, until clear is
// called. A node has one filter at a time.
func (c *Cluster) Filter(ctx context.Context, node string, matches ...string) (clear func() error, err error) {
	rules := "table netdev " + faultTable + " { chain in { type filter hook ingress device eth0 priority -500; policy accept; "
	for _, m := range matches {
		rules += m + " drop; "
	}
	if _, err := c.Exec(ctx, node, "nft", rules+"}; }"); err != nil {
		return nil, err
	}
	return func() error {
		_, err := c.Exec(context.Background(), node, "nft", "delete table netdev "+faultTable)
		return err
	}, nil
}

// Loss drops a share of the frames that reach the nodes' cables: one in so many.
func (c *Cluster) Loss(ctx context.Context, in int) (clear func() error, err error) {
	return c.filterAll(ctx, func(string) []string { return []string{fmt.Sprintf("numgen random mod %d == 0", in)} })
}

// BlockMembers drops what announcers say to each other; the LAN works.
func (c *Cluster) BlockMembers(ctx context.Context) (clear func() error, err error) {
	return c.filterAll(ctx, func(string) []string { return MembersTraffic() })
}

// MembersTraffic are the matches, for [Cluster.Filter], of what announcers say to
// each other. Connections of others may have their port, but not both addresses.
func MembersTraffic() []string {
	var out []string
	for _, port := range []string{"th dport 7946", "th sport 7946"} {
		out = append(out,
			fmt.Sprintf("ip saddr %v ip daddr %v %s", lab.LAN4, lab.LAN4, port),
			fmt.Sprintf("ip6 saddr %v ip6 daddr %v %s", lab.LAN6, lab.LAN6, port))
	}
	return out
}

// Part drops every frame between a node and the other nodes. All reach the rest
// of the LAN.
func (c *Cluster) Part(ctx context.Context, alone string) (clear func() error, err error) {
	return c.filterAll(ctx, func(node string) []string {
		var out []string
		for _, other := range c.Nodes() {
			if other == node || node != alone && other != alone {
				continue
			}
			mac, err := c.mac(other)
			if err != nil {
				continue // no such host: nothing comes from it
			}
			out = append(out, "ether saddr "+mac)
		}
		return out
	})
}

func (c *Cluster) filterAll(ctx context.Context, matches func(node string) []string) (clear func() error, err error) {
	var undo []func() error
	clear = func() error {
		var errs []error
		for _, u := range undo {
			errs = append(errs, u())
		}
		return errors.Join(errs...)
	}
	for _, node := range c.Nodes() {
		u, err := c.Filter(ctx, node, matches(node)...)
		if err != nil {
			return nil, errors.Join(err, clear())
		}
		undo = append(undo, u)
	}
	return clear, nil
}

// mac is the MAC of a host's cable.
func (c *Cluster) mac(host string) (mac string, err error) {
	err = c.Do(host, func() error {
		iface, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = iface.HardwareAddr.String()
		}
		return err
	})
	return mac, err
}

// Busy keeps the CPUs busy with processes of each node's until stop is called.
func (c *Cluster) Busy(each int) (stop func() error, err error) {
	return c.busy(each, func(string) (string, error) { return ":", nil })
}

// Crowd puts busy processes beside each announcer's pod, in a group that has as
// many shares of the CPUs as a container that requests a whole one. The
// announcer has those of its request of 100m.
func (c *Cluster) Crowd(each int) (stop func() error, err error) {
	const wholeCPU = 1024
	return c.busy(each, func(node string) (string, error) {
		announcers, err := c.Pids(node, Announcer)
		if err != nil || len(announcers) == 0 {
			return "", errors.Join(err, fmt.Errorf("node %s runs no announcer", node))
		}
		container, err := cgroup.Of(announcers[0])
		if err != nil {
			return "", err
		}
		beside := container.CPU().Parent().Parent().Child("crowd")
		return "echo $$ > " + filepath.Join(beside[0].Path, "cgroup.procs"), errors.Join(beside.Create(), beside.SetCPUShares(wholeCPU))
	})
}

// busy starts processes that only count, each after a command of its node's.
func (c *Cluster) busy(each int, first func(node string) (string, error)) (stop func() error, err error) {
	var running []*lab.Daemon
	stop = func() error {
		var errs []error
		for _, d := range running {
			errs = append(errs, d.Stop(context.Background()))
		}
		return errors.Join(errs...)
	}
	for _, node := range c.Nodes() {
		command, err := first(node)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		for i := range each {
			d, err := c.StartDaemon(node, fmt.Sprintf("busy%d", i), "sh", "-c", command+"; while :; do :; done")
			if err != nil {
				return nil, errors.Join(err, stop())
			}
			running = append(running, d)
		}
	}
	return stop, nil
}

// Stall stops a node's announcer for a time.
func (c *Cluster) Stall(node string, d time.Duration) error {
	if err := c.KillProcess(node, Announcer, unix.SIGSTOP); err != nil {
		return err
	}
	<-time.After(d)
	return c.KillProcess(node, Announcer, unix.SIGCONT)
}
