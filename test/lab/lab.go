package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/client-go/kubernetes"

	"github.com/herald-lb/herald/test/internal/cgroup"
	"github.com/herald-lb/herald/test/internal/node"
	"github.com/herald-lb/herald/test/internal/rig"
	"github.com/herald-lb/herald/test/lab/build"
)

// Options says what kind of lab to bring up. The zero value is good.
type Options struct {
	Name       string // "lab" if empty
	Nodes      int    // 3 if zero
	Addressing Addressing
	// CloudProvider is what the kubelets are told of it: with External they
	// wait to be initialised by a cloud controller manager.
	CloudProvider CloudProvider
	// AuditLog makes the API server write down each request; see [Lab.AuditLog].
	AuditLog bool
	// Images are archives that the nodes have from the start, beside those of
	// cmd/web and cmd/pause; [Lab.Load] brings more.
	Images []string
	// Progress gets a line per step, and says what is waited for.
	Progress io.Writer
}

// Addressing is the choice of address families.
type Addressing int

// DualStack gives every host both families, and the cluster IPv4 first.
// IPv6Only gives IPv6 alone to hosts, pods and Services.
const (
	DualStack Addressing = iota
	IPv6Only
)

// CloudProvider is a value of the kubelet's --cloud-provider.
type CloudProvider string

// NoCloudProvider leaves nodes to themselves.
const (
	NoCloudProvider CloudProvider = ""
	External        CloudProvider = "external"
)

// Lab is a running cluster. Its methods may be used by several goroutines, but
// hosts may be added only while no other method runs.
type Lab struct {
	state    *rig.State
	progress *progress
	client   *kubernetes.Clientset

	mu    sync.Mutex            // guards the field below
	conns map[net.Conn]struct{} // to the API server
}

// Up builds what is missing and brings a lab up; all nodes are Ready when it
// returns. If it fails, or ctx ends meanwhile, nothing of the lab is left.
func Up(ctx context.Context, o Options) (*Lab, error) {
	o.Name, o.Nodes = cmp.Or(o.Name, "lab"), cmp.Or(o.Nodes, 3)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Nodes < 1 || o.Nodes > maxNodes {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, maxNodes)
	}
	if err := errors.Join(rig.CheckName(o.Name), Preflight()); err != nil {
		return nil, err
	}
	built, err := buildAll(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	group, err := cgroup.Base()
	if err != nil {
		return nil, err
	}
	state := &rig.State{
		Name: o.Name, Group: group.Child("herald-lab", o.Name), Bin: built.bin,
		IPv6Only: o.Addressing == IPv6Only,
	}
	if err := rig.Create(state); err != nil {
		return nil, err
	}
	l := newLab(state, o.Progress)
	if err := l.up(ctx, o, built); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		l.progress.step("taking what there is of the lab down again")
		// The caller's context may have ended; what there is must go all the same.
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

func newLab(state *rig.State, w io.Writer) *Lab {
	return &Lab{state: state, progress: newProgress(w), conns: map[net.Conn]struct{}{}}
}

// Open returns a lab that is up already, such as one that a command left. It
// takes no responsibility for it.
func Open(name string, w io.Writer) (*Lab, error) {
	if err := Preflight(); err != nil {
		return nil, err
	}
	state, err := rig.Load(name)
	if err != nil {
		return nil, err
	}
	l := newLab(state, w)
	return l, l.connect()
}

// Down takes a lab down by its name, whoever brought it up and however far it
// came. It is no error if there is none.
func Down(ctx context.Context, name string) error {
	if err := errors.Join(rig.CheckName(name), needRoot()); err != nil {
		return err
	}
	return rig.Teardown(ctx, name)
}

// List returns the names of the machine's labs.
func List() ([]string, error) { return rig.List() }

// Down takes the lab down: no process, namespace, mount, cgroup or file of it
// is left. It may be called more than once.
func (l *Lab) Down(ctx context.Context) error {
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, conn := range open { // each takes itself off the list
		conn.Close()
	}
	return rig.Teardown(ctx, l.state.Name)
}

// Keep lets the lab live on when this process ends.
func (l *Lab) Keep() error { return l.state.StopGuard() }

// Name is the lab's name.
func (l *Lab) Name() string { return l.state.Name }

// Dir is where the lab's files are, such as its logs.
func (l *Lab) Dir() string { return rig.Dir(l.state.Name) }

// built is what a lab needs compiled.
type built struct {
	bin, helper string
	images      []string
}

func buildAll(ctx context.Context, w io.Writer) (built, error) {
	b, err := build.New(w)
	if err != nil {
		return built{}, err
	}
	var out built
	if out.bin, err = b.Programs(ctx); err != nil {
		return built{}, err
	}
	if out.helper, err = b.Helper(ctx); err != nil {
		return built{}, err
	}
	out.images, err = b.LabImages(ctx)
	return out, err
}

// up makes everything, after the record.
func (l *Lab) up(ctx context.Context, o Options, built built) error {
	for _, dir := range []string{"log", "images", "pki", "nodes"} {
		if err := os.Mkdir(rig.Dir(o.Name, dir), 0o700); err != nil {
			return err
		}
	}
	if err := copyFile(built.helper, l.state.Helper(), 0o700); err != nil {
		return err
	}
	if err := l.state.StartGuard(); err != nil {
		return err
	}
	for _, archive := range append(built.images, o.Images...) {
		if err := copyFile(archive, rig.Dir(o.Name, "images", filepath.Base(archive)), 0o600); err != nil {
			return err
		}
	}
	if err := errors.Join(l.state.Group.Parent().Create(), l.state.Group.Create()); err != nil {
		return err
	}
	if err := l.addNetwork(o.Nodes); err != nil {
		return err
	}
	l.progress.step("network of %d nodes", o.Nodes)
	if err := l.startControlPlane(o); err != nil {
		return err
	}
	for _, name := range l.Nodes() {
		if err := l.firstBoot(ctx, name, o.CloudProvider); err != nil {
			return err
		}
	}
	if err := l.connect(); err != nil {
		return err
	}
	if err := l.waitAPIServer(ctx); err != nil {
		return err
	}
	l.progress.step("API server")
	if err := l.startControllers(); err != nil {
		return err
	}
	for _, name := range l.Nodes() {
		if err := l.spec(name).Release(); err != nil {
			return err
		}
	}
	if err := l.WaitNodesReady(ctx, l.Nodes()...); err != nil {
		return err
	}
	for _, name := range l.Nodes() {
		// Not sooner: kube-proxy has the kernel load what has these settings.
		if err := l.state.ForgetConnections(name); err != nil {
			return err
		}
	}
	l.progress.step("%d nodes Ready", o.Nodes)
	return nil
}

// spec is a node's spec as far as its files are named by it.
func (l *Lab) spec(name string) *node.Spec {
	return &node.Spec{Name: name, Dir: rig.Dir(l.state.Name, "nodes", name)}
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(to+".part", to)
}
