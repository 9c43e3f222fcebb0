package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
)

// kind says what a fault may cost.
type kind int

const (
	failure  kind = iota // addresses move; clients wait for a moment
	planned              // addresses move; clients notice nothing
	needless             // nothing may move
)

// fault is one thing that happens to the cluster. It returns when it is over:
// mended, stopped or thawed.
type fault struct {
	name string
	kind kind
	do   func(ctx context.Context, r *run) error
}

// faults are all that can happen. Those with [run.long] take their time.
func faults() []fault {
	return []fault{
		{"cable cut", failure, onNode(func(ctx context.Context, r *run, node string) error {
			return r.between(ctx, func() error { return r.CutCable(node) }, func() error { return r.MendCable(node) })
		})},
		{"node powered off", failure, onNode(func(ctx context.Context, r *run, node string) error {
			return r.between(ctx, func() error { return r.PowerOff(ctx, node) }, func() error { return r.PowerOn(ctx, node) })
		})},
		{"node frozen", failure, onNode(func(ctx context.Context, r *run, node string) error {
			return r.between(ctx, func() error { return r.Freeze(ctx, node) }, func() error { return r.Thaw(node) })
		})},
		{"announcer killed", failure, onNode(func(_ context.Context, r *run, node string) error {
			return r.KillProcess(node, herald.Announcer, unix.SIGKILL)
		})},
		{"partition", failure, onNode(func(ctx context.Context, r *run, node string) error {
			return r.until(ctx, func() (func() error, error) { return r.Part(ctx, node) }, r.short())
		})},
		{"announcer told to stop", planned, onNode(func(_ context.Context, r *run, node string) error {
			return r.KillProcess(node, herald.Announcer, unix.SIGTERM)
		})},
		{"announcer's pod deleted", planned, onNode(func(ctx context.Context, r *run, node string) error {
			return r.kubectl(ctx, "-n", herald.Namespace, "delete", "pod", "-l", "app.kubernetes.io/component=announcer", "--field-selector", "spec.nodeName="+node)
		})},
		{"rolling restart", planned, func(ctx context.Context, r *run) error {
			return errors.Join(r.kubectl(ctx, "-n", herald.Namespace, "rollout", "restart", "daemonset/announcer"), r.WaitRollout(ctx))
		}},
		{"node labelled out", planned, onNode(func(ctx context.Context, r *run, node string) error {
			const label = "node.kubernetes.io/exclude-from-external-load-balancers"
			return r.between(ctx,
				func() error { return r.kubectl(ctx, "label", "node", node, label+"=") },
				func() error { return r.kubectl(ctx, "label", "node", node, label+"-") })
		})},
		{"node cordoned and drained", planned, onNode(func(ctx context.Context, r *run, node string) error {
			return r.between(ctx,
				func() error {
					return r.kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
				},
				func() error { return r.kubectl(ctx, "uncordon", node) })
		})},
		{"all CPUs busy", needless, func(ctx context.Context, r *run) error {
			return r.until(ctx, func() (func() error, error) { return r.Busy(runtime.NumCPU()) }, r.long())
		}},
		{"few CPU shares", needless, func(ctx context.Context, r *run) error {
			return r.until(ctx, func() (func() error, error) { return r.Crowd(runtime.NumCPU()) }, r.long())
		}},
		{"one frame of ten lost", needless, func(ctx context.Context, r *run) error {
			return r.until(ctx, func() (func() error, error) { return r.Loss(ctx, 10) }, r.long())
		}},
		{"announcers stall for 300 ms", needless, stalls},
		{"members' traffic blocked", needless, func(ctx context.Context, r *run) error {
			return r.until(ctx, func() (func() error, error) { return r.BlockMembers(ctx) }, r.short())
		}},
		{"API server gone", needless, func(ctx context.Context, r *run) error {
			return r.until(ctx, func() (func() error, error) {
				return func() error { return r.StartAPIServer(context.WithoutCancel(ctx)) }, r.StopAPIServer(ctx)
			}, r.long())
		}},
		{"etcd frozen", needless, func(ctx context.Context, r *run) error {
			return r.until(ctx, func() (func() error, error) { return r.ThawEtcd, r.FreezeEtcd(ctx) }, r.short())
		}},
		{"controllers killed", needless, killControllers},
		{"a stranger takes an address", needless, strangerTakes},
	}
}

// onNode makes a fault of one that hits a node chosen at random.
func onNode(do func(ctx context.Context, r *run, node string) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		node := r.Nodes()[r.random.IntN(len(r.Nodes()))]
		r.detail = node
		return do(ctx, r, node)
	}
}

// between breaks something, waits for some seconds and mends it.
func (r *run) between(ctx context.Context, breaks, mends func() error) error {
	return r.until(ctx, func() (func() error, error) { return mends, breaks() }, r.short())
}

// until begins something, and ends it after a time or with the context.
func (r *run) until(ctx context.Context, begin func() (end func() error, err error), d time.Duration) error {
	end, err := begin()
	if err != nil {
		return err
	}
	pause(ctx, d)
	return end()
}

// pause waits, for less if the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// short is some seconds.
func (r *run) short() time.Duration {
	return time.Second + time.Duration(r.random.Int64N(int64(8*time.Second)))
}

// long is a while that grows with the run: five minutes in one of an hour. Only
// the first of each kind takes that.
func (r *run) long() time.Duration {
	const most, share, later = 5 * time.Minute, 12, 15 * time.Second
	if r.deals > 1 {
		return later
	}
	return min(most, max(r.settings.For/share, later))
}

// stalls stops one announcer after the other for 300 ms.
func stalls(ctx context.Context, r *run) error {
	for end := time.Now().Add(r.long()); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
		node := r.Nodes()[r.random.IntN(len(r.Nodes()))]
		if err := r.Stall(node, 300*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func killControllers(_ context.Context, r *run) error {
	for _, node := range r.Nodes() {
		const program = "cloud-controller-manager"
		if pids, err := r.Pids(node, program); err != nil || len(pids) == 0 {
			continue
		}
		if err := r.KillProcess(node, program, unix.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

// strangerTakes has a host that is no node use an address for some seconds.
func strangerTakes(ctx context.Context, r *run) error {
	const stranger = "stranger"
	all := r.all()
	a := all[r.random.IntN(len(all))]
	r.detail = a.String()
	if _, err := r.Address(stranger, a); err != nil {
		if err := r.AddHost(stranger); err != nil {
			return err
		}
	}
	change := func(verb string) error {
		args := []string{"ip", "addr", verb, netip.PrefixFrom(a, a.BitLen()).String(), "dev", "eth0"}
		if a.Is6() && verb == "add" {
			args = append(args, "nodad")
		}
		_, err := r.Exec(ctx, stranger, args...)
		return err
	}
	r.contested = a
	err := r.between(ctx, func() error { return change("add") }, func() error { return change("del") })
	// The client may have believed it.
	_, flush := r.Exec(ctx, lab.Client, "ip", "neigh", "flush", "dev", "eth0")
	return errors.Join(err, flush)
}

func (r *run) kubectl(ctx context.Context, args ...string) error {
	if _, err := r.Kubectl(ctx, args...); err != nil {
		return fmt.Errorf("kubectl: %w", err)
	}
	return nil
}
