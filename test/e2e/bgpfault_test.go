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

// withBFD is the usual configuration, with the IPv4 sessions watched by BFD.
func withBFD() string {
	doc := testfile("bgp.yaml")
	for _, peer := range []string{"  peer-address: 192.168.31.1\n", "  peer-address: 192.168.31.101\n"} {
		doc = strings.Replace(doc, peer, peer+"  bfd-profile: fast\n", 1)
	}
	return doc + "bfd-profiles: [{name: fast, transmit-interval: 50, receive-interval: 50, detect-multiplier: 3}]\n"
}

// watched waits until BFD is up between all nodes and both routers.
func (r *routed) watched(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "BFD is up with all nodes", func() error {
		var peers []struct{ Peer, Status string }
		if err := r.frr.JSON(t.Context(), "show bfd peers json", &peers); err != nil {
			return err
		}
		if n := len(slices.DeleteFunc(peers, func(p struct{ Peer, Status string }) bool { return p.Status != "up" })); n != 3 {
			return fmt.Errorf("with %d for FRR", n)
		}
		out, err := r.bird.Show(t.Context(), "show bfd sessions")
		if n := strings.Count(out, " Up "); err != nil || n != 3 {
			return fmt.Errorf("with %d for BIRD: %s, %v", n, out, err)
		}
		return nil
	})
}

// Routers that watch a node by BFD drop its routes when BFD ends, although they
// would have kept them over a restart. So an announcer that is told to stop has
// new connections moved away before; and a node that loses power is no way any
// more at once.
func TestBGPWithBFD(t *testing.T) {
	r := onRouted(t)
	r.apply(t, withBFD())
	t.Cleanup(func() {
		r.apply(t, testfile("bgp.yaml"))
		r.sessions(t, "frr", "bird")
	})
	r.watched(t)
	r.sessions(t, "frr", "bird")
	ns := r.namespace(t, "bgp-power")
	r.workload(t, ns, "web", 1, "n1")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.inKernel(t, lab.Router, a, all...)
	r.inKernel(t, birdHost, a, all...)
	r.reach(t, a)
	r.unnoticed(t, a, func() {
		r.restartAnnouncer(t, "n2")
		if told := r.leaves(t, "n2", a, "FRR", "BIRD"); !told["FRR"] || !told["BIRD"] {
			t.Errorf("who was told with GRACEFUL_SHUTDOWN and local preference 0: %v", told)
		}
		r.must(t, r.WaitRollout(t.Context()))
		r.sessions(t, "frr", "bird")
		r.watched(t)
		r.inKernel(t, lab.Router, a, all...)
		r.inKernel(t, birdHost, a, all...)
	})

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
	r.inKernel(t, birdHost, a, "n1", "n2")
	birdTook := time.Since(began)
	time.Sleep(time.Second) // connections to the node have theirs to fail
	report, err := stop()
	r.must(t, err)
	t.Logf("after power was cut, FRR's kernel had no route by the node within %v, BIRD's within %v; FRR's client saw %v", took, birdTook, report)
	if max(took, birdTook) > 3*time.Second {
		t.Errorf("it took %v and %v", took, birdTook)
	}
}

// A cordoned or drained node says that it is about to go, and goes; new connections
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
		r.drainAndReturn(t, a, "drain", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s") // it waits for the pods
		for range 4 {
			for router, seen := range r.drainAndReturn(t, a, "cordon") {
				told[router] = told[router] || seen
			}
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

// drainAndReturn has kubectl cordon or drain n3, until its routes have gone, and
// uncordons it. It returns which routers were seen to be told before.
func (r *routed) drainAndReturn(t *testing.T, a netip.Addr, how ...string) (told map[string]bool) {
	t.Helper()
	kubectl := func(args ...string) {
		t.Helper()
		_, err := r.Kubectl(context.Background(), args...)
		r.must(t, err)
	}
	t.Cleanup(func() { kubectl("uncordon", "n3") })
	kubectl(append(how, "n3")...)
	told = r.leaves(t, "n3", a, "FRR", "BIRD")
	kubectl("uncordon", "n3")
	r.inKernel(t, lab.Router, a, all...)
	return told
}

// leaves waits until a node is no way to an address any more for certain
// routers, and returns which of them were seen to be told before, by
// GRACEFUL_SHUTDOWN and local preference 0.
func (r *routed) leaves(t *testing.T, node string, a netip.Addr, routers ...string) (told map[string]bool) {
	t.Helper()
	told = map[string]bool{}
	eventually(t, soon, node+" is no way any more", func() error {
		left := 0
		for _, router := range routers {
			paths, community := r.frrPaths, "graceful"
			if router == "BIRD" {
				paths, community = r.birdPaths, "(65535,0)"
			}
			got, err := paths(single(a))
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(got, func(p path) bool { return p.via == node }); i >= 0 {
				left++
				told[router] = told[router] || strings.Contains(got[i].communities, community) && got[i].localPref == 0
			}
		}
		if left > 0 {
			return fmt.Errorf("it is one for %d routers", left)
		}
		return nil
	})
	return told
}

// unnoticed does something while a client behind FRR opens 100 connections a
// second, none of which may fail.
//
// There are three chances for what is not Herald's: a connection that is under
// way in the moment in which the router takes other next hops may be sent on
// to a node that has not seen its beginning, as this router hashes; and on a
// busy machine, web servers stand still for seconds. Any other failure counts
// at once.
func (r *routed) unnoticed(t *testing.T, a netip.Addr, do func()) {
	t.Helper()
	const chances = 3
	for i := range chances {
		began := time.Now()
		ways := r.watchKernel(t, lab.Router, a)
		_, stop, err := r.Probe(far, probe.Options{Target: netip.AddrPortFrom(a, 80)})
		r.must(t, err)
		do()
		time.Sleep(time.Second) // the last ones have theirs to fail
		report, err := stop()
		r.must(t, err)
		changes := ways()
		t.Logf("%s; the router took other next hops %d times", failed(report, began), len(changes))
		if len(report.Failures) == 0 {
			return
		}
		for _, f := range report.Failures {
			if f.Reason != "no answer" && f.Reason != "no connection" && !underWay(f.At, changes) {
				t.Errorf("a connection failed although no route changed: after %v: %s", f.At.Sub(began), f.Reason)
			}
		}
		if t.Failed() {
			return
		}
		if i == chances-1 {
			t.Error("connections fail each time")
		}
	}
}

// underWay reports whether a connection that began at a time was young when one
// of the changes came.
func underWay(began time.Time, changes []change) bool {
	return slices.ContainsFunc(changes, func(c change) bool {
		age := c.at.Sub(began)
		return age > -10*time.Millisecond && age < 200*time.Millisecond
	})
}

// A rolling restart goes unnoticed where routers keep routes meanwhile: no route
// changes in their kernels, and a connection that was there goes on.
func TestBGPRollingRestart(t *testing.T) {
	r := onRouted(t)
	ns := r.namespace(t, "bgp-restart")
	r.workload(t, ns, "web", 2, "")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	r.inKernel(t, lab.Router, a, all...)
	r.inKernel(t, birdHost, a, all...)
	r.reach(t, a)
	conn := r.hold(t, a)
	r.unmoved(t, a, func() {
		r.unnoticed(t, a, func() {
			_, err := r.Kubectl(t.Context(), "-n", "herald-system", "rollout", "restart", "daemonset/announcer")
			r.must(t, err)
			r.must(t, r.WaitRollout(t.Context()))
			r.sessions(t, "frr", "frr6", "bird", "bird6")
		})
	})
	if n, err := conn(); err != nil || n < 3 {
		t.Errorf("a connection from before was answered %d times and broke: %v", n, err)
	}

	// A crash is no different.
	r.unmoved(t, a, func() {
		r.must(t, r.KillProcess("n2", "announcer", unix.SIGKILL))
		time.Sleep(time.Second)
		r.sessions(t, "frr", "frr6", "bird", "bird6")
	})
}

// unmoved does something in which no route to an address may change in the
// routers' kernels.
func (r *routed) unmoved(t *testing.T, a netip.Addr, do func()) {
	t.Helper()
	kernels := map[string]func() []change{}
	for _, host := range []string{lab.Router, birdHost} {
		kernels[host] = r.watchKernel(t, host, a)
	}
	do()
	for host, changes := range kernels {
		if c := changes(); len(c) > 0 {
			t.Errorf("the kernel of %s saw routes change: %v", host, c)
		}
	}
}

// Where a router has not agreed to graceful restart, an announcer that is told
// to stop has new connections moved to other nodes before its routes go; one
// that is killed loses them at once. Another router, which has agreed, sees
// neither.
func TestBGPStopWhereARouterForgets(t *testing.T) {
	r := onRouted(t)
	forget := func(word string) {
		r.must(t, r.frr.Configure(context.Background(), "router bgp 64513\n "+word+"bgp graceful-restart-disable\n"))
		_, err := r.frr.Show(context.Background(), "clear bgp *")
		r.must(t, err)
		r.sessions(t, "frr", "frr6")
	}
	forget("")
	t.Cleanup(func() { forget("no ") })
	ns := r.namespace(t, "bgp-stop")
	r.workload(t, ns, "web", 2, "n1")
	r.expose(t, ns, "web")
	a := r.address(t, ns, "web")
	for _, router := range []string{lab.Router, birdHost} {
		r.inKernel(t, router, a, all...)
	}
	r.reach(t, a)
	kept := r.watchKernel(t, birdHost, a)

	r.unnoticed(t, a, func() {
		r.restartAnnouncer(t, "n3")
		if told := r.leaves(t, "n3", a, "FRR"); !told["FRR"] {
			t.Error("FRR was not told with GRACEFUL_SHUTDOWN")
		}
		r.must(t, r.WaitRollout(t.Context()))
		r.inKernel(t, lab.Router, a, all...)
	})

	lost := r.watchKernel(t, lab.Router, a)
	r.must(t, r.KillProcess("n2", "announcer", unix.SIGKILL))
	time.Sleep(time.Second)
	r.sessions(t, "frr", "frr6", "bird", "bird6")
	r.inKernel(t, lab.Router, a, all...)
	if changes := lost(); len(changes) < 2 {
		t.Errorf("FRR's kernel kept the routes of a killed announcer: %v", changes)
	}
	if changes := kept(); len(changes) > 0 {
		t.Errorf("BIRD's kernel saw routes change: %v", changes)
	}
}

// restartAnnouncer tells a node's announcer to stop, by deleting its pod. The
// DaemonSet starts another.
func (r *routed) restartAnnouncer(t *testing.T, node string) {
	t.Helper()
	_, err := r.Kubectl(t.Context(), "-n", "herald-system", "delete", "pod", "--wait=false",
		"-l", "app.kubernetes.io/component=announcer", "--field-selector", "spec.nodeName="+node)
	r.must(t, err)
}

// change is one of a route in a kernel.
type change struct {
	at   time.Time
	line string
}

func (c change) String() string { return c.line }

// watchKernel notes what changes of a host's routes to an address.
func (r *routed) watchKernel(t *testing.T, host string, a netip.Addr) (changes func() []change) {
	t.Helper()
	cmd, err := r.Command(context.Background(), host, "ip", "-o", "-ts", "monitor", "route", "nexthop")
	r.must(t, err)
	var out strings.Builder
	cmd.Stdout = &out
	r.must(t, cmd.Start())
	return func() []change {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait() // it was told to end
		var all []change
		for line := range strings.Lines(out.String()) {
			stamp, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			// FRR's routes name groups of next hops, and it deletes those
			// without a route much later.
			newGroup := strings.HasPrefix(rest, "id ") && strings.Contains(rest, " group ")
			if !newGroup && !strings.Contains(rest+" ", a.String()+" ") {
				continue
			}
			at, err := time.ParseInLocation("[2006-01-02T15:04:05]", stamp, time.Local)
			r.must(t, err)
			all = append(all, change{at, line})
		}
		return all
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
