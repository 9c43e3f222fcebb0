package e2e

import (
	"bytes"
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
type cluster struct {
	*lab.Lab
	name string
}

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

// onCluster returns the shared cluster.
func onCluster(t *testing.T) *cluster {
	t.Helper()
	needsLab(t)
	shared.once.Do(func() {
		shared.c, shared.err = install(context.Background(), lab.Options{Name: "e2e", Progress: os.Stderr})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.c
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
	image, err := heraldImage(ctx, build.HeraldImage)
	if err != nil {
		return nil, err
	}
	o.Images, o.AuditLog = append(o.Images, image), true
	l, err := lab.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &cluster{Lab: l, name: o.Name}
	if err := c.installHerald(ctx); err != nil {
		c.saveLogs()
		l.Down(context.WithoutCancel(ctx))
		return nil, err
	}
	return c, nil
}

func heraldImage(ctx context.Context, name string) (string, error) {
	b, err := build.New(os.Stderr)
	if err != nil {
		return "", err
	}
	return b.Herald(ctx, name)
}

func (c *cluster) installHerald(ctx context.Context) error {
	if _, err := c.Kubectl(ctx, "apply", "-f", deployDir()); err != nil {
		return err
	}
	if err := c.Apply(ctx, configMap(pools, nil)); err != nil {
		return err
	}
	return c.waitHerald(ctx)
}

// waitHerald waits until both programs are rolled out everywhere.
func (c *cluster) waitHerald(ctx context.Context) error {
	for _, what := range []string{"deployment/cloud-controller-manager", "daemonset/announcer"} {
		if _, err := c.Kubectl(ctx, "-n", "herald-system", "rollout", "status", what, "--timeout=120s"); err != nil {
			return err
		}
	}
	return nil
}

// deployDir is the directory of the shipped manifests.
func deployDir() string {
	dir, err := filepath.Abs("../../deploy")
	if err != nil {
		panic(err) // no working directory
	}
	return dir
}

// configMap is the manifest of the user's ConfigMap.
func configMap(document string, annotations map[string]string) string {
	var b bytes.Buffer
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  namespace: herald-system\n  name: config\n  annotations:\n    e2e: \"\"\n")
	for k, v := range annotations {
		fmt.Fprintf(&b, "    %s: %q\n", k, v)
	}
	b.WriteString("data:\n  config: |\n")
	for _, line := range bytes.Split([]byte(document), []byte("\n")) {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	return b.String()
}

// configure applies a configuration, and the usual one again when the test ends.
func (c *cluster) configure(t *testing.T, document string, annotations map[string]string) {
	t.Helper()
	c.must(t, c.Apply(t.Context(), configMap(document, annotations)))
	t.Cleanup(func() {
		c.must(t, c.Apply(context.Background(), configMap(pools, map[string]string{"herald-lb.io/allow-address-loss": "true"})))
		c.must(t, c.Apply(context.Background(), configMap(pools, nil)))
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
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		for _, args := range [][]string{
			{"-n", name, "delete", "services", "--all", "--timeout=50s"},
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
	dir := filepath.Join(os.TempDir(), "herald-"+c.name+"-logs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	pods, err := c.Client().CoreV1().Pods("herald-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for _, p := range pods.Items {
		for _, previous := range []bool{false, true} {
			out, err := c.Client().CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
			if err != nil {
				continue // no such container yet, or no earlier one
			}
			name := p.Name + ".log"
			if previous {
				name = p.Name + ".previous.log"
			}
			if err := os.WriteFile(filepath.Join(dir, name), out, 0o644); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
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
