package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Builder builds from one source tree into one cache.
type Builder struct {
	Root     string // the tree
	Cache    string
	Progress io.Writer // a line per step
}

// New finds the source tree that the working directory is in, and the cache:
// HERALD_LAB_CACHE, or herald-lab in the user's cache directory.
func New(progress io.Writer) (*Builder, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	cache := os.Getenv("HERALD_LAB_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("where to keep built programs: %w: set HERALD_LAB_CACHE", err)
		}
		cache = filepath.Join(dir, "herald-lab")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nil, err
	}
	return &Builder{Root: root, Cache: cache, Progress: progress}, nil
}

// findRoot looks for the tree from the working directory upwards.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "test", "go.mod"))
		if err == nil && bytes.HasPrefix(b, []byte("module github.com/herald-lb/herald/test\n")) {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not in Herald's source tree: change to it and try again")
		}
		dir = filepath.Dir(dir)
	}
}

// program is one of the cluster's.
type program struct {
	module string // directory below test/tools
	pkg    string
	flags  []string
	dir    string // below bin; "" for bin itself
	name   string // of the binary, if it is not the package's last element
}

func (p program) binary() string {
	if p.name != "" {
		return p.name
	}
	return path.Base(p.pkg)
}

// programs lists what a cluster consists of, with how each is built.
func programs() []program {
	const version = "k8s.io/component-base/version."
	kubernetes := []string{"-ldflags", "-s -w -X " + version + "gitVersion=v1.37.2 -X " + version + "gitMajor=1 -X " + version + "gitMinor=37"}
	plain := []string{"-ldflags", "-s -w"}
	containerd := []string{
		"-tags", "no_btrfs no_zfs no_devmapper no_aufs",
		"-ldflags", "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2",
	}
	var all []program
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl", "kubelet"} {
		all = append(all, program{module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/" + name, flags: kubernetes})
	}
	all = append(all, program{module: "kubernetes", pkg: "go.etcd.io/etcd/server/v3", flags: plain, name: "etcd"})
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		all = append(all, program{module: "containerd", pkg: "github.com/containerd/containerd/v2/cmd/" + name, flags: containerd})
	}
	for _, name := range []string{"main/ptp", "main/loopback", "ipam/host-local", "meta/portmap"} {
		all = append(all, program{module: "cni", pkg: "github.com/containernetworking/plugins/plugins/" + name, flags: plain, dir: "cni"})
	}
	return all
}

// Programs returns the directory of the cluster's programs, and builds them if
// they are not in the cache.
func (b *Builder) Programs(ctx context.Context) (string, error) {
	all := programs()
	key, err := b.key(all)
	if err != nil {
		return "", err
	}
	home := filepath.Join(b.Cache, key)
	bin := filepath.Join(home, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	unlock, err := b.lock(ctx, home)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(bin); err == nil {
		return bin, nil // built by another while this one waited
	}
	next := bin + ".part"
	if err := os.RemoveAll(next); err != nil {
		return "", err
	}
	fmt.Fprintf(b.Progress, "building the cluster's %d programs, once; about ten minutes on two cores if Go has none of their packages yet\n", len(all))
	for i, p := range all {
		label := fmt.Sprintf("%d/%d %s", i+1, len(all), p.binary())
		args := append([]string{"-o", filepath.Join(next, p.dir, p.binary())}, p.flags...)
		if err := b.goBuild(ctx, label, filepath.Join(b.Root, "test", "tools", p.module), append(args, p.pkg)); err != nil {
			return "", err
		}
	}
	return bin, os.Rename(next, bin)
}

// key names the directory for programs built from the pinned modules with these
// flags by this Go.
func (b *Builder) key(all []program) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH)
	seen := map[string]bool{}
	for _, p := range all {
		fmt.Fprintf(sum, "%q\n", p)
		if seen[p.module] {
			continue
		}
		seen[p.module] = true
		for _, file := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(b.Root, "test", "tools", p.module, file))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%d\n%s", len(content), content)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// lock keeps two builds from the same directory.
func (b *Builder) lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	say := time.Now().Add(2 * time.Second)
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, err
		}
		if !say.IsZero() && time.Now().After(say) {
			fmt.Fprintf(b.Progress, "waiting for another build to be done with %s\n", dir)
			say = time.Time{}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// goBuild runs go build in a directory, telling what it is at.
func (b *Builder) goBuild(ctx context.Context, label, dir string, args []string) error {
	start := time.Now()
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-v", "-trimpath", "-buildvcs=false"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go build: %w: install Go and put it into PATH", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(b.Progress, "  %s: %d packages compiled, %.0f s\n", label, out.packages.Load(), time.Since(start).Seconds())
		case err := <-done:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return explain(label, out.text.String())
			}
			fmt.Fprintf(b.Progress, "  %s: built in %.1f s\n", label, time.Since(start).Seconds())
			return nil
		}
	}
}

// output is what go build said: with -v, a line per package compiled.
type output struct {
	text     bytes.Buffer // not embedded: a copy to it would go past Write
	packages atomic.Int64
}

func (o *output) Write(p []byte) (int, error) {
	o.packages.Add(int64(bytes.Count(p, []byte("\n"))))
	return o.text.Write(p)
}

// explain turns go build's output into an error that says what to do.
func explain(label, out string) error {
	var said []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		for _, sign := range []string{"dial tcp", "no such host", "TLS handshake", "i/o timeout", "connection refused", "proxyconnect", "502 Bad Gateway", "503 Service", "module lookup disabled"} {
			if strings.Contains(line, sign) {
				return fmt.Errorf("build %s: can't download Go modules: %s: check the network, or set GOPROXY to a module proxy that answers", label, line)
			}
		}
		if strings.ContainsAny(line, " :") { // not the name of a package
			said = append(said, line)
		}
	}
	return fmt.Errorf("build %s:\n%s", label, strings.Join(said, "\n"))
}
