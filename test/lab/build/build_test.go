package build

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct{ name, out, want string }{
		{
			"no network",
			"go: downloading k8s.io/kubernetes v1.37.2\ngo: k8s.io/kubernetes@v1.37.2: Get \"https://proxy.example/x\": dial tcp: lookup proxy.example: no such host\n",
			"build kubelet: can't download Go modules: go: k8s.io/kubernetes@v1.37.2: Get \"https://proxy.example/x\": dial tcp: lookup proxy.example: no such host: check the network, or set GOPROXY to a module proxy that answers",
		},
		{"compile error", "example.org/a\n# example.org/b\nb.go:1:2: undefined: x\n", "build kubelet:\n# example.org/b\nb.go:1:2: undefined: x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := explain("kubelet", tt.out).Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// tree makes a source tree that has the pinned modules' files only.
func tree(t *testing.T) *Builder {
	t.Helper()
	b := &Builder{Root: t.TempDir(), Cache: t.TempDir(), Progress: io.Discard}
	for _, module := range []string{"kubernetes", "containerd", "cni"} {
		dir := filepath.Join(b.Root, "test", "tools", module)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"go.mod", "go.sum"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte("module "+module+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// The way exec copies what a program says.
func TestOutputCountsPackages(t *testing.T) {
	var out output
	if _, err := io.Copy(&out, iotest.OneByteReader(strings.NewReader("k8s.io/a\nk8s.io/b\n"))); err != nil {
		t.Fatal(err)
	}
	if got := out.packages.Load(); got != 2 || out.text.String() != "k8s.io/a\nk8s.io/b\n" {
		t.Errorf("%d packages of %q", got, &out.text)
	}
}

func TestKeyFollowsWhatIsBuilt(t *testing.T) {
	b := tree(t)
	all := programs()
	key := func() string {
		t.Helper()
		k, err := b.key(all)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	if key() != first {
		t.Error("the key changes by itself")
	}
	all[0].flags = []string{"-race"}
	flags := key()
	if flags == first {
		t.Error("other flags have the same key")
	}
	if err := os.WriteFile(filepath.Join(b.Root, "test/tools/cni/go.sum"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if key() == flags {
		t.Error("another go.sum has the same key")
	}
}

// A build that fails must not leave what looks like a whole one.
func TestProgramsLeavesNothingHalf(t *testing.T) {
	b := tree(t)
	for range 2 {
		if bin, err := b.Programs(t.Context()); err == nil {
			t.Errorf("built %s from nothing", bin)
		}
	}
	found, err := filepath.Glob(filepath.Join(b.Cache, "*", "bin"))
	if err != nil || len(found) > 0 {
		t.Errorf("left behind: %v, %v", found, err)
	}
}

func TestLockWaits(t *testing.T) {
	b := tree(t)
	unlock, err := b.lock(t.Context(), b.Cache)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.lock(ctx, b.Cache); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock: %v, want it to wait", err)
	}
	unlock()
	again, err := b.lock(t.Context(), b.Cache)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestNewOutsideTheTree(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := New(io.Discard); err == nil || !strings.Contains(err.Error(), "source tree") {
		t.Errorf("error = %v, want one that says where to go", err)
	}
}

func TestNewFindsTheTree(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HERALD_LAB_CACHE", cache)
	b, err := New(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.Root, "test", "lab", "build", "build_test.go")); err != nil || b.Cache != cache {
		t.Errorf("root %s, cache %s", b.Root, b.Cache)
	}
}
