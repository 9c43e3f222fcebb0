package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
)

// withBFD is the usual configuration, with FRR's IPv4 sessions watched by BFD.
func withBFD() string {
	return strings.Replace(testfile("bgp.yaml"), "  password-secret: frr\n", "  password-secret: frr\n  bfd-profile: fast\n", 1) +
		"bfd-profiles: [{name: fast, transmit-interval: 50, receive-interval: 50, detect-multiplier: 3}]\n"
}

// A node that loses power is no way any more as soon as BFD says so, although
// the router would have kept its routes over a restart.
func TestBGPPowerLossWithBFD(t *testing.T) {
	r := onRouted(t)
	r.must(t, r.frr.Configure(t.Context(), "router bgp 64513\n neighbor nodes bfd 3 50 50\n"))
	r.apply(t, withBFD())
	t.Cleanup(func() {
		r.must(t, r.frr.Configure(context.Background(), "router bgp 64513\n no neighbor nodes bfd\n"))
		r.apply(t, testfile("bgp.yaml"))
		r.sessions(t, "frr")
	})
	eventually(t, 30*time.Second, "BFD is up with all nodes", func() error {
		var peers []struct{ Peer, Status string }
		if err := r.frr.JSON(t.Context(), "show bfd peers json", &peers); err != nil {
			return err
		}
		if n := len(slices.DeleteFunc(peers, func(p struct{ Peer, Status string }) bool { return p.Status != "up" })); n != 3 {
			return fmt.Errorf("with %d", n)
		}
		return nil
	})
	r.sessions(t, "frr")
	ns := r.namespace(t, "bgp-power")
	r.workload(t, ns, "web", 1, "n1")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.inKernel(t, lab.Router, a, all...)
	r.reach(t, a)
	_, stop, err := r.Probe(far, probe.Options{Target: netip.AddrPortFrom(a, 80)})
	r.must(t, err)
	time.Sleep(time.Second)
	began := time.Now()
	r.must(t, r.PowerOff(t.Context(), "n3"))
	t.Cleanup(func() {
		r.must(t, r.PowerOn(context.Background(), "n3"))
		r.must(t, r.WaitNodesReady(context.Background(), "n3"))
	})
	r.inKernel(t, lab.Router, a, "n1", "n2")
	took := time.Since(began)
	time.Sleep(time.Second) // connections to the node have theirs to fail
	report, err := stop()
	r.must(t, err)
	t.Logf("after power was cut, the router's kernel had no route by the node within %v; its client saw %v", took, report)
	if took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A cordoned node says that it is about to go, and goes; new connections
// succeed all the while. The last node stays.
func TestBGPDrainWithoutFailedConnections(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-drain")
	r.workload(t, ns, "web", 2, "n1")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.inKernel(t, lab.Router, a, all...)
	r.reach(t, a)
	told := map[string]bool{}
	r.unnoticed(t, a, func() {
		for range 5 {
			r.drainAndReturn(t, a, told)
		}
	})
	if !told["FRR"] || !told["BIRD"] {
		t.Errorf("who was told with GRACEFUL_SHUTDOWN and local preference 0: %v", told)
	}

	r.patchNode(t, "n1", `{"spec":{"unschedulable":true}}`, `{"spec":{"unschedulable":null}}`)
	r.patchNode(t, "n2", `{"spec":{"unschedulable":true}}`, `{"spec":{"unschedulable":null}}`)
	r.leads(t, r.frrPaths, single(a), "n3")
	r.patchNode(t, "n3", `{"spec":{"unschedulable":true}}`, `{"spec":{"unschedulable":null}}`)
	r.inKernel(t, lab.Router, a, all...) // all go: so none does
}

// drainAndReturn cordons n3 until its routes have gone, and uncordons it. It
// notes which routers were seen to be told before.
func (r *routed) drainAndReturn(t *testing.T, a netip.Addr, told map[string]bool) {
	t.Helper()
	cordon := func(word string) {
		t.Helper()
		_, err := r.Kubectl(context.Background(), word, "n3")
		r.must(t, err)
	}
	t.Cleanup(func() { cordon("uncordon") })
	cordon("cordon")
	eventually(t, soon, "n3 is no way any more", func() error {
		left := 0
		for _, at := range []struct {
			router, community string
			paths             func(string) ([]path, error)
		}{{"FRR", "graceful", r.frrPaths}, {"BIRD", "(65535,0)", r.birdPaths}} {
			got, err := at.paths(single(a))
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(got, func(p path) bool { return p.via == "n3" }); i >= 0 {
				left++
				told[at.router] = told[at.router] || strings.Contains(got[i].communities, at.community) && got[i].localPref == 0
			}
		}
		if left > 0 {
			return fmt.Errorf("it is one for %d routers", left)
		}
		return nil
	})
	cordon("uncordon")
	r.inKernel(t, lab.Router, a, all...)
}

// unnoticed does something while a client behind FRR opens 100 connections a
// second, none of which may fail. A busy machine loses some all by itself (its web
// servers stand still for seconds), so that there are three chances; what each
// came to is logged. It therefore misses what fails only now and then.
func (r *routed) unnoticed(t *testing.T, a netip.Addr, do func()) {
	t.Helper()
	const chances = 3
	for i := range chances {
		began := time.Now()
		_, stop, err := r.Probe(far, probe.Options{Target: netip.AddrPortFrom(a, 80)})
		r.must(t, err)
		do()
		time.Sleep(time.Second) // the last ones have theirs to fail
		report, err := stop()
		r.must(t, err)
		t.Log(failed(report, began))
		if len(report.Failures) == 0 {
			return
		}
		if i == chances-1 {
			t.Error("connections fail each time")
		}
	}
}

// A rolling restart goes unnoticed where routers keep routes meanwhile: no route
// changes in their kernels, and a connection that was there goes on.
//
// Of the new connections, one in some thousands does fail here: its SYN reached a
// node whose kernel did not translate it to a pod, so that it went back and forth
// to its last hop. No route had changed. Why is not known yet; it is seen with
// restarts and not with drains, so don't put it down to the machine.
func TestBGPRollingRestart(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-restart")
	r.workload(t, ns, "web", 2, "")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.inKernel(t, lab.Router, a, all...)
	r.inKernel(t, birdHost, a, all...)
	r.reach(t, a)
	ways := r.watchKernel(t, lab.Router, a)
	conn := r.hold(t, a)
	r.unnoticed(t, a, func() {
		_, err := r.Kubectl(t.Context(), "-n", "herald-system", "rollout", "restart", "daemonset/announcer")
		r.must(t, err)
		r.must(t, r.WaitRollout(t.Context()))
		r.sessions(t, "frr", "frr6", "bird", "bird6")
	})
	if changes := ways(); len(changes) > 0 {
		t.Errorf("the router's kernel saw routes change:\n%s", strings.Join(changes, ""))
	}
	if n, err := conn(); err != nil || n < 3 {
		t.Errorf("a connection from before was answered %d times and broke: %v", n, err)
	}

	// A crash is no different.
	ways = r.watchKernel(t, lab.Router, a)
	r.must(t, r.KillProcess("n2", "announcer", unix.SIGKILL))
	time.Sleep(time.Second)
	r.sessions(t, "frr", "frr6", "bird", "bird6")
	if changes := ways(); len(changes) > 0 {
		t.Errorf("after a crash the router's kernel saw routes change:\n%s", strings.Join(changes, ""))
	}
}

// watchKernel notes what changes of a host's routes to an address.
func (r *routed) watchKernel(t *testing.T, host string, a netip.Addr) (changes func() []string) {
	t.Helper()
	cmd, err := r.Command(context.Background(), host, "ip", "-o", "monitor", "route", "nexthop")
	r.must(t, err)
	var out strings.Builder
	cmd.Stdout = &out
	r.must(t, cmd.Start())
	return func() []string {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait() // it was told to end
		var lines []string
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, a.String()+" ") || strings.Contains(line, "group ") {
				lines = append(lines, line)
			}
		}
		return lines
	}
}

// hold keeps one connection open and asks on it again and again.
func (r *routed) hold(t *testing.T, a netip.Addr) (end func() (answers int, err error)) {
	t.Helper()
	conn, err := r.Dial(t.Context(), far, "tcp", netip.AddrPortFrom(a, 80).String())
	r.must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	answers := 0
	go func() {
		defer conn.Close()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		reader := bufio.NewReader(conn)
		for {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-tick.C:
			}
			if err := askOn(conn, reader); err != nil {
				done <- err
				return
			}
			answers++
		}
	}()
	return func() (int, error) {
		cancel()
		err := <-done
		return answers, err
	}
}

// askOn asks on a connection that stays open.
func askOn(conn net.Conn, reader *bufio.Reader) error {
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// failed tells when connections failed, from a moment on.
func failed(report probe.Report, since time.Time) string {
	out := report.String()
	for _, f := range report.Failures {
		out += fmt.Sprintf("; after %v: %s", f.At.Sub(since).Round(time.Millisecond), f.Reason)
	}
	return out
}
