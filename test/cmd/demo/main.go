// Demo shows Herald at work: a real cluster on this machine, a Service that
// gets an address and answers on the LAN, and a node that fails. It leaves the
// cluster up.
package main

import (
	"context"
	"errors"
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
	"github.com/herald-lb/herald/test/lab/probe"
)

const name = "demo"

// config is the ConfigMap of the user's guide, but for its namespace.
const config = `apiVersion: v1
kind: ConfigMap
metadata:
  namespace: herald-system
  name: config
data:
  config: |
    address-pools:
    - name: default
      protocol: layer2
      addresses:
      - 192.168.31.254/28
`

// web is a web server that says which of its pods answers, and its Service.
const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: ` + build.WebImage + `
        imagePullPolicy: IfNotPresent
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

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
	lab   *lab.Lab
}

func (d *demo) run(ctx context.Context) error {
	if err := d.cluster(ctx); err != nil {
		return err
	}
	address, err := d.service(ctx)
	if err != nil {
		return err
	}
	if err := d.failover(ctx, address); err != nil {
		return err
	}
	if err := d.lab.Keep(); err != nil {
		return err
	}
	d.next(address)
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
	deploy := filepath.Join(b.Root, "deploy")
	if _, err := d.show(ctx, "apply", "-f", deploy); err != nil {
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

// service makes a Service and waits for its first answer.
func (d *demo) service(ctx context.Context) (netip.Addr, error) {
	d.say("A web server with a Service of type LoadBalancer")
	if err := d.lab.Apply(ctx, web); err != nil {
		return netip.Addr{}, err
	}
	if _, err := d.show(ctx, "rollout", "status", "deployment/web", "--timeout=120s"); err != nil {
		return netip.Addr{}, err
	}
	out, err := d.show(ctx, "get", "service", "web")
	if err != nil {
		return netip.Addr{}, err
	}
	out, err = d.lab.Kubectl(ctx, "get", "service", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	if err != nil {
		return netip.Addr{}, err
	}
	address, err := netip.ParseAddr(out)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the Service's address: %w", err)
	}
	d.say("The client on the LAN asks %v", address)
	url := fmt.Sprintf("http://%v/", address)
	fmt.Fprintf(d.out, "client$ curl %s\n", url)
	for deadline := time.Now().Add(20 * time.Second); ; {
		answer, err := d.lab.Get(ctx, lab.Client, url)
		if err == nil {
			fmt.Fprintln(d.out, strings.TrimSpace(answer))
			return address, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return netip.Addr{}, fmt.Errorf("no answer: %w", err)
		}
	}
}

// failover cuts the cable of the node that has the address.
func (d *demo) failover(ctx context.Context, address netip.Addr) error {
	before, err := d.owner(ctx, address, "")
	if err != nil {
		return err
	}
	_, stop, err := d.lab.Probe(lab.Client, probe.Options{Target: netip.AddrPortFrom(address, 80)})
	if err != nil {
		return err
	}
	failure := d.cut(ctx, address, before)
	report, err := stop()
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "the client went without an answer for %v; %d of its %d connections failed, with those to the Pod on %s,\n"+
		"which Kubernetes takes for ready until its node has been silent for a while\n",
		report.Worst().Round(time.Millisecond), len(report.Failures), report.Sent, before)
	d.say("The cable of %s is mended", before)
	return d.lab.MendCable(before)
}

// cut cuts the owner's cable and waits until another node answers.
func (d *demo) cut(ctx context.Context, address netip.Addr, owner string) error {
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	d.say("The cable of %s is cut; the client opens 100 connections a second", owner)
	if err := d.lab.CutCable(owner); err != nil {
		return err
	}
	if _, err := d.owner(ctx, address, owner); err != nil {
		return err
	}
	return sleep(ctx, 2*time.Second)
}

// owner asks the LAN until a node other than not answers for the address.
func (d *demo) owner(ctx context.Context, address netip.Addr, not string) (string, error) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		answers, err := d.lab.WhoHas(ctx, lab.Client, address)
		if err != nil {
			return "", err
		}
		if len(answers) == 1 && answers[0].Host != not {
			fmt.Fprintf(d.out, "client$ arping %v\n%v answers: that is %s\n", address, answers[0].MAC, answers[0].Host)
			return answers[0].Host, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return "", errors.Join(ctx.Err(), fmt.Errorf("the owner of %v on the LAN: want one node other than %q, got %v", address, not, answers))
		}
	}
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
func (d *demo) next(address netip.Addr) {
	d.say("The cluster stays up. To try next, from test/")
	fmt.Fprintf(d.out, `  alias lab='go run ./cmd/lab --name %s'
  lab kubectl get services,nodes -A
  lab kubectl -n herald-system logs daemonset/announcer
  lab kubectl -n herald-system edit configmap config      # add a pool, or take one away that is in use
  lab kubectl get events -A | grep -i -e address -e announc
  lab exec client curl -s http://%v/
  lab poweroff n1; lab poweron n1                         # or: freeze and thaw, cut and mend
  lab apiserver stop                                      # the addresses still answer, and still fail over
  lab down                                                # or: make down
`, name, address)
}
