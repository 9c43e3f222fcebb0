package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
	"github.com/herald-lb/herald/test/lab/probe"
)

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

// layer2 is the first act: a Service that answers on the LAN, and goes on when
// its node fails.
func (d *demo) layer2(ctx context.Context) (netip.Addr, error) {
	address, err := d.service(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	return address, d.failover(ctx, address)
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
	if _, err := d.show(ctx, "get", "service", "web"); err != nil {
		return netip.Addr{}, err
	}
	address, err := d.address(ctx, "web")
	if err != nil {
		return netip.Addr{}, err
	}
	d.say("The client on the LAN asks %v", address)
	return address, d.curl(ctx, lab.Client, address)
}

// address reads a Service's address.
func (d *demo) address(ctx context.Context, service string) (netip.Addr, error) {
	out, err := d.lab.Kubectl(ctx, "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	if err != nil {
		return netip.Addr{}, err
	}
	address, err := netip.ParseAddr(out)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the address of Service %s: %w", service, err)
	}
	return address, nil
}

// curl asks an address from a host until it answers.
func (d *demo) curl(ctx context.Context, host string, address netip.Addr) error {
	url := fmt.Sprintf("http://%v/", address)
	fmt.Fprintf(d.out, "%s$ curl %s\n", host, url)
	for deadline := time.Now().Add(20 * time.Second); ; {
		answer, err := d.lab.Get(ctx, host, url)
		if err == nil {
			fmt.Fprintln(d.out, strings.TrimSpace(answer))
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("no answer: %w", err)
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
