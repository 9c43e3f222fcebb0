package herald

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
)

// Namespace is where Herald lives.
const Namespace = "herald-system"

// Cluster is a lab on which Herald is installed.
type Cluster struct{ *lab.Lab }

// Up builds Herald, brings a lab up, installs Herald by the manifests in deploy/
// and configures it with a document. It returns when both programs are ready
// everywhere. If it fails, the lab is gone and Herald's logs are in a directory
// that the error names.
func Up(ctx context.Context, o lab.Options, document string) (*Cluster, error) {
	b, err := build.New(o.Progress)
	if err != nil {
		return nil, err
	}
	image, err := b.Herald(ctx, build.HeraldImage)
	if err != nil {
		return nil, err
	}
	o.Images = append(slices.Clone(o.Images), image)
	l, err := lab.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &Cluster{l}
	if err := c.install(ctx, filepath.Join(b.Root, "deploy"), document); err != nil {
		after := context.WithoutCancel(ctx)
		dir := filepath.Join(os.TempDir(), "herald-"+l.Name()+"-logs")
		return nil, errors.Join(fmt.Errorf("%w; logs are in %s", err, dir), c.SaveLogs(after, dir), l.Down(after))
	}
	return c, nil
}

func (c *Cluster) install(ctx context.Context, manifests, document string) error {
	if _, err := c.Kubectl(ctx, "apply", "-f", manifests); err != nil {
		return err
	}
	if err := c.Apply(ctx, ConfigMap(document, nil)); err != nil {
		return err
	}
	return c.WaitRollout(ctx)
}

// WaitRollout waits until both programs run everywhere as their manifests say. A
// kubelet puts off the restart of a container that ended often by five minutes.
func (c *Cluster) WaitRollout(ctx context.Context) error {
	out, err := c.Kubectl(ctx, "-n", Namespace, "get", "deployments,daemonsets", "-o", "name")
	if err != nil {
		return err
	}
	for _, what := range strings.Fields(out) {
		if _, err := c.Kubectl(ctx, "-n", Namespace, "rollout", "status", what, "--timeout=6m"); err != nil {
			return err
		}
	}
	return nil
}

// Configure applies a document and waits until the controller has accepted it.
func (c *Cluster) Configure(ctx context.Context, document string, annotations map[string]string) error {
	if err := c.Apply(ctx, ConfigMap(document, annotations)); err != nil {
		return err
	}
	return c.WaitFor(ctx, lab.Wait{
		What: "the configuration to be accepted", Timeout: 30 * time.Second,
		Done: func(ctx context.Context) (bool, string) {
			live, err := c.Client().CoreV1().ConfigMaps(Namespace).Get(ctx, "config-live", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			return strings.TrimSpace(live.Data["config"]) == strings.TrimSpace(document), "config-live is another document"
		},
	})
}

// ConfigMap is the manifest of the user's ConfigMap with a document and, on the
// object, annotations.
func ConfigMap(document string, annotations map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  namespace: %s\n  name: config\n", Namespace)
	if len(annotations) > 0 {
		b.WriteString("  annotations:\n")
	}
	for key, value := range annotations {
		fmt.Fprintf(&b, "    %s: %q\n", key, value)
	}
	b.WriteString("data:\n  config: |\n")
	for line := range strings.Lines(document) {
		fmt.Fprintf(&b, "    %s\n", strings.TrimRight(line, "\n"))
	}
	return b.String()
}

// SaveLogs writes what Herald's pods have said, and before their last restart
// too, what the announcers know and count, and what the API server shows of it
// all into a directory.
func (c *Cluster) SaveLogs(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pods, err := c.Client().CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pods.Items {
		for suffix, previous := range map[string]bool{".log": false, ".previous.log": true} {
			out, err := c.Client().CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
			if err != nil {
				continue // no such container yet, or no earlier one
			}
			errs = append(errs, os.WriteFile(filepath.Join(dir, p.Name+suffix), out, 0o644))
		}
	}
	for _, node := range c.Nodes() {
		if body, err := c.Get(ctx, node, announcements); err == nil { // else it doesn't run
			errs = append(errs, os.WriteFile(filepath.Join(dir, node+".json"), []byte(body), 0o644))
		}
		if text, err := c.Metrics(ctx, node); err == nil {
			errs = append(errs, os.WriteFile(filepath.Join(dir, node+".metrics"), []byte(text), 0o644))
		}
	}
	objects, err := c.Kubectl(ctx, "get", "services,endpointslices,nodes,pods", "--all-namespaces", "--output", "yaml")
	return errors.Join(append(errs, err, os.WriteFile(filepath.Join(dir, "objects.yaml"), []byte(objects), 0o644))...)
}
