package soak

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
)

// document is Herald's configuration.
const document = `address-pools:
- name: default
  protocol: layer2
  addresses:
  - 192.168.31.240-192.168.31.251
  - fd31::240-fd31::24b
`

// web is a web server on every node, one of which is enough for a Service to be
// served.
const web = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ` + build.WebImage + `
        imagePullPolicy: IfNotPresent
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        resources: {requests: {cpu: 500m}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 10}
`

const service = `---
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// deploy makes the web servers and the Services, and waits for their addresses.
func (r *run) deploy(ctx context.Context) error {
	var manifests strings.Builder
	manifests.WriteString(web)
	for i := range r.settings.Services {
		fmt.Fprintf(&manifests, service, fmt.Sprintf("web%d", i))
	}
	if err := r.Apply(ctx, manifests.String()); err != nil {
		return err
	}
	if err := r.kubectl(ctx, "rollout", "status", "daemonset/web", "--timeout=120s"); err != nil {
		return err
	}
	return r.WaitFor(ctx, lab.Wait{
		What: "the Services to have addresses", Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			r.services = nil
			for i := range r.settings.Services {
				s, err := r.Client().CoreV1().Services("default").Get(ctx, fmt.Sprintf("web%d", i), metav1.GetOptions{})
				if err != nil {
					return false, err.Error()
				}
				var addresses []netip.Addr
				for _, in := range s.Status.LoadBalancer.Ingress {
					if a, err := netip.ParseAddr(in.IP); err == nil {
						addresses = append(addresses, a)
					}
				}
				const families = 2
				if len(addresses) != families {
					return false, fmt.Sprintf("%s has %v", s.Name, addresses)
				}
				r.services = append(r.services, addresses)
			}
			return true, ""
		},
	})
}
