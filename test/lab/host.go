package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/herald-lb/herald/test/internal/netns"
	"github.com/herald-lb/herald/test/internal/rig"
	"github.com/herald-lb/herald/test/lab/probe"
)

// Command returns a command that runs in a host's network namespace, with the
// machine's files. It looks on from outside: it runs on a node that is frozen or
// off too, and ends with the lab.
func (l *Lab) Command(ctx context.Context, host string, argv ...string) (*exec.Cmd, error) {
	return l.state.Command(ctx, host, argv...)
}

// Exec runs a command in a host's network namespace and returns what it printed.
func (l *Lab) Exec(ctx context.Context, host string, argv ...string) (string, error) {
	cmd, err := l.Command(ctx, host, argv...)
	if err != nil {
		return "", err
	}
	return output(cmd, host)
}

// output runs a command and returns its standard output; its error has what the
// command complained of.
func output(cmd *exec.Cmd, host string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("on %s: %s: %w: %s", host, strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Do runs f on a thread inside a host's network namespace: sockets that f makes
// are the host's. f must not leave it to other goroutines to make them.
func (l *Lab) Do(host string, f func() error) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	return netns.Do(l.state.Namespace(host), f)
}

// Get asks a web server from a host, on a connection of its own, and returns the
// body of its answer, which must be 200.
func (l *Lab) Get(ctx context.Context, host, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			// The transport's own context outlives the question.
			return l.Dial(ctx, host, network, address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %s", url, resp.Status, bytes.TrimSpace(body))
	}
	return string(body), err
}

// AddHost adds a host to the LAN, with addresses there and the lab's router as
// its gateway.
func (l *Lab) AddHost(name string) error {
	used := map[string]bool{}
	for _, h := range l.state.Hosts {
		used[h.MAC] = true
	}
	for number := firstExtra; number <= lastExtra; number++ {
		h := l.hostAt(name, number)
		if used[h.MAC] {
			continue
		}
		if err := l.state.AddHost(h); err != nil {
			return err
		}
		return l.addDefaultRoute(h)
	}
	return fmt.Errorf("the LAN has no address left for host %s", name)
}

// AddFarHost adds a host that is behind another one instead of on the LAN, with
// that one as its gateway. Its interface has the name of the host it is behind,
// and the other way round; the addresses are those of the two ends, the near
// one's first.
func (l *Lab) AddFarHost(name, behind string, near, far netip.Prefix) error {
	if _, err := l.state.Host(behind); err != nil {
		return err
	}
	if _, err := l.state.Host(name); err != nil {
		if err := l.state.AddHost(rig.Host{Name: name}); err != nil {
			return err
		}
		if err := l.state.Connect(behind, name); err != nil {
			return err
		}
	}
	if err := errors.Join(l.state.AddAddresses(behind, name, near), l.state.AddAddresses(name, behind, far), l.state.Forward(behind)); err != nil {
		return err
	}
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if near.Addr().Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return l.state.AddRoute(name, all, near.Addr())
}

// AddRoute gives a host a route.
func (l *Lab) AddRoute(host string, to netip.Prefix, via netip.Addr) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	return l.state.AddRoute(host, to, via)
}

// Address is a host's address on the LAN of the family that like is of.
func (l *Lab) Address(host string, like netip.Addr) (netip.Addr, error) {
	h, err := l.state.Host(host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range hostAddresses(h) {
		if a.Is4() == like.Is4() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("host %s has no address of the family of %v on the LAN", host, like)
}

// Counters are what an interface has seen since it was made.
type Counters struct{ RxPackets, RxBytes, TxPackets, TxBytes uint64 }

// Counters reads the counters of a host's interface.
func (l *Lab) Counters(host, iface string) (Counters, error) {
	var c Counters
	err := l.Do(host, func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return fmt.Errorf("interface %s of %s: %w", iface, host, err)
		}
		s := link.Attrs().Statistics
		c = Counters{RxPackets: s.RxPackets, RxBytes: s.RxBytes, TxPackets: s.TxPackets, TxBytes: s.TxBytes}
		return nil
	})
	return c, err
}

// Dial connects from a host to an address and port.
func (l *Lab) Dial(ctx context.Context, host, network, address string) (net.Conn, error) {
	if _, err := l.state.Host(host); err != nil {
		return nil, err
	}
	return netns.Dial(ctx, l.state.Namespace(host), network, address)
}

// Probe opens connections to a target from a host, at a steady rate, until stop
// is called, which returns what was seen. The prober can be asked meanwhile.
func (l *Lab) Probe(host string, o probe.Options) (p *probe.Prober, stop func() (probe.Report, error), err error) {
	if _, err := l.state.Host(host); err != nil {
		return nil, nil, err
	}
	if p, err = probe.New(l.state.Namespace(host), o); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, func() (probe.Report, error) {
		report := p.Report()
		cancel()
		return report, <-done
	}, nil
}
