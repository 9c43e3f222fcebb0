package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
)

// pools is the configuration that the shared cluster has between tests.
const pools = `address-pools:
- name: default
  protocol: layer2
  addresses:
  - 192.168.31.240-192.168.31.249
  - fd31::240-fd31::24f
- name: spare
  protocol: layer2
  auto-assign: false
  addresses:
  - 192.168.31.250-192.168.31.251
- name: many
  protocol: layer2
  auto-assign: false
  addresses:
  - 10.99.0.0/16
`

// cluster is a lab on which Herald is installed.
type cluster struct{ *herald.Cluster }

// shared is the cluster of most tests, brought up by the first that asks.
var shared struct {
	once sync.Once
	c    *cluster
	err  error
}

func TestMain(m *testing.M) {
	// A test binary that is interrupted must take its clusters along.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		for _, c := range brought() {
			c.Down(context.Background())
		}
		os.Exit(1)
	}()
	code := m.Run()
	for _, c := range brought() {
		if code != 0 {
			c.saveLogs()
		}
		if err := c.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// brought are the shared clusters that tests brought up.
func brought() []*cluster {
	var all []*cluster
	if shared.c != nil {
		all = append(all, shared.c)
	}
	if sharedRouted.r != nil {
		all = append(all, sharedRouted.r.cluster)
	}
	return all
}

// onCluster returns the shared cluster. HERALD_TEST_LAB is another name for it,
// so that two runs don't get into each other's way.
func onCluster(t *testing.T) *cluster {
	t.Helper()
	needsLab(t)
	shared.once.Do(func() {
		shared.c, shared.err = install(context.Background(), lab.Options{Name: cmp.Or(os.Getenv("HERALD_TEST_LAB"), "e2e"), Progress: os.Stderr})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.c
}

// needsTime skips a test that takes its time unless it is asked for: together
// those take a quarter of an hour.
func needsTime(t *testing.T) {
	t.Helper()
	if os.Getenv("HERALD_TEST_FAULTS") == "" {
		t.Skip("takes its time: `make test-faults` runs it")
	}
}

func needsLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a cluster; -short is given")
	}
	if err := lab.Preflight(); err != nil {
		t.Skip(err)
	}
}

// install brings a lab up and Herald on it, configured with pools.
func install(ctx context.Context, o lab.Options) (*cluster, error) {
	o.AuditLog = true
	c, err := herald.Up(ctx, o, pools)
	if err != nil {
		return nil, err
	}
	return &cluster{c}, nil
}

func heraldImage(ctx context.Context, name string) (string, error) {
	b, err := build.New(os.Stderr)
	if err != nil {
		return "", err
	}
	return b.Herald(ctx, name)
}

// deployDir is the directory of the shipped manifests.
func deployDir() string {
	dir, err := filepath.Abs("../../deploy")
	if err != nil {
		panic(err) // no working directory
	}
	return dir
}

// configure applies a configuration, and the usual one again when the test ends.
func (c *cluster) configure(t *testing.T, document string, annotations map[string]string) {
	t.Helper()
	c.must(t, c.Apply(t.Context(), herald.ConfigMap(document, annotations)))
	t.Cleanup(func() {
		c.must(t, c.Apply(context.Background(), herald.ConfigMap(pools, map[string]string{"herald-lb.io/allow-address-loss": "true"})))
		c.must(t, c.Apply(context.Background(), herald.ConfigMap(pools, nil)))
		eventually(t, 10*time.Second, "the usual configuration is accepted again", func() error {
			live, err := c.Client().CoreV1().ConfigMaps("herald-system").Get(context.Background(), "config-live", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if live.Data["config"] != pools+"\n" && live.Data["config"] != pools {
				return fmt.Errorf("config-live is another document")
			}
			return nil
		})
	})
}

// namespace makes a namespace for a test, gone with it.
func (c *cluster) namespace(t *testing.T, name string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := c.Client().CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	c.must(t, err)
	t.Cleanup(func() {
		// Addresses must be free for the next test; Pods may take their time.
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		defer cancel()
		for _, args := range [][]string{
			{"-n", name, "delete", "services", "--all", "--timeout=3m"},
			{"delete", "namespace", name, "--wait=false"},
		} {
			if _, err := c.Kubectl(ctx, args...); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		}
	})
	return name
}

func (c *cluster) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// saveLogs keeps what Herald wrote, for whoever looks into a failure.
func (c *cluster) saveLogs() {
	dir := filepath.Join(os.TempDir(), "herald-"+c.Name()+"-logs")
	if err := c.SaveLogs(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Fprintf(os.Stderr, "the logs of Herald's pods are in %s\n", dir)
}

// eventually tries until try succeeds.
func eventually(t *testing.T, within time.Duration, what string, try func() error) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > within {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		<-tick.C
	}
}
