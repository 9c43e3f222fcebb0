// Demo shows Herald at work: a real cluster on this machine, a Service that
// gets an address and answers on the LAN, and a node that fails; then a router,
// a Service that answers behind it, and a node that fails. It leaves the cluster
// up.
package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
	"github.com/herald-lb/herald/test/lab/router"
)

const name = "demo"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{out: os.Stdout, start: time.Now()}
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		if d.lab != nil {
			err = d.lab.Down(context.WithoutCancel(ctx))
			if err != nil {
				fmt.Fprintln(os.Stderr, "demo:", err)
			}
		}
		os.Exit(1)
	}
}

type demo struct {
	out   io.Writer
	start time.Time
	root  string // of the source tree
	lab   *lab.Lab
}

func (d *demo) run(ctx context.Context) error {
	if err := d.cluster(ctx); err != nil {
		return err
	}
	lan, err := d.layer2(ctx)
	if err != nil {
		return err
	}
	frr, routed, err := d.bgp(ctx)
	if err != nil {
		return err
	}
	if err := d.lab.Keep(); err != nil {
		return err
	}
	d.next(frr, lan, routed)
	return nil
}

// say begins a step, with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n== %s  (%.0f s)\n", fmt.Sprintf(format, args...), time.Since(d.start).Seconds())
}

// show prints a command and what it says.
func (d *demo) show(ctx context.Context, args ...string) (string, error) {
	fmt.Fprintf(d.out, "$ kubectl %s\n", strings.Join(args, " "))
	out, err := d.lab.Kubectl(ctx, args...)
	fmt.Fprint(d.out, out)
	return out, err
}

// cluster brings up a cluster with Herald on it.
func (d *demo) cluster(ctx context.Context) error {
	d.say("A cluster of 3 nodes in network namespaces")
	b, err := build.New(d.out)
	if err != nil {
		return err
	}
	image, err := b.Herald(ctx, build.HeraldImage)
	if err != nil {
		return err
	}
	if d.lab, err = lab.Up(ctx, lab.Options{Name: name, Nodes: 3, Images: []string{image}, Progress: d.out}); err != nil {
		return err
	}
	d.say("Herald")
	d.root = b.Root
	if _, err := d.show(ctx, "apply", "-f", filepath.Join(d.root, "deploy")); err != nil {
		return err
	}
	d.say("The addresses that are ours: 192.168.31.254/28")
	if err := d.lab.Apply(ctx, config); err != nil {
		return err
	}
	for _, what := range []string{"deployment/cloud-controller-manager", "daemonset/announcer"} {
		if _, err := d.show(ctx, "-n", "herald-system", "rollout", "status", what, "--timeout=120s"); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// next says what to try.
func (d *demo) next(frr *router.FRR, lan, routed netip.Addr) {
	d.say("The cluster stays up. To try next, from test/")
	fmt.Fprintf(d.out, `  alias lab='go run ./cmd/lab --name %s'
  lab kubectl get services,nodes -A
  lab kubectl -n herald-system logs daemonset/announcer
  lab kubectl -n herald-system edit configmap config      # add a pool, or take one away that is in use
  lab kubectl get events -A | grep -i -e address -e announc
  lab exec client curl -s http://%v/
  lab exec outside curl -s http://%v/              # by the router's ways
  lab exec router %s
  lab poweroff n1; lab poweron n1                         # or: freeze and thaw, cut and mend
  lab apiserver stop                                      # the addresses still answer, and still fail over
  lab down                                                # or: make down
`, name, lan, routed, strings.Join(frr.VtyshCommand("-c", "'show bgp summary'"), " "))
}
