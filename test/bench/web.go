package bench

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
)

// webManifest is a web server of two pods, on nodes other than one.
const webManifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 2, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - {key: kubernetes.io/hostname, operator: NotIn, values: [%q]}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: %s
        imagePullPolicy: IfNotPresent
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`

// deployWeb deploys the web server on nodes other than one, or moves it there,
// and waits until it is ready.
func (c *cluster) deployWeb(ctx context.Context, ns, notOn string) error {
	if err := c.Apply(ctx, fmt.Sprintf(webManifest, ns, notOn, build.WebImage)); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "-n", ns, "rollout", "status", "deployment/web", "--timeout=120s")
	return err
}

// selectWeb makes the web server what is behind a Service.
func selectWeb(s *corev1.Service) {
	s.Spec.Selector = map[string]string{"app": "web"}
	s.Spec.Ports[0].TargetPort = intstr.FromInt32(8080)
}

// announce adds Services of the web server to a namespace until it has n. It
// returns their IPv4 addresses when the LAN answers for all of them.
func (c *cluster) announce(ctx context.Context, ns string, n int) ([]netip.Addr, error) {
	services, err := c.services(ns)
	if err != nil {
		return nil, err
	}
	have, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	if names := serviceNames("web", n)[min(len(have.Items), n):]; len(names) > 0 {
		if err := createAndWait(ctx, services, names, selectWeb); err != nil {
			return nil, err
		}
	}
	addresses, err := c.addresses(ctx, ns)
	if err != nil {
		return nil, err
	}
	claims, err := c.watchClaims(ctx)
	if err != nil {
		return nil, err
	}
	defer claims.close()
	return addresses, claims.waitOwned(ctx, addresses, 3*time.Minute)
}

// addresses lists the IPv4 addresses of a namespace's Services, lowest first.
func (c *cluster) addresses(ctx context.Context, ns string) ([]netip.Addr, error) {
	list, err := c.Client().CoreV1().Services(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, s := range list.Items {
		for _, i := range s.Status.LoadBalancer.Ingress {
			if a, err := netip.ParseAddr(i.IP); err == nil && a.Is4() {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}

// waitOwner waits until one node alone answers for an address.
func (c *cluster) waitOwner(ctx context.Context, a netip.Addr) (owner string, err error) {
	err = c.WaitFor(ctx, lab.Wait{
		What: "one node to answer for " + a.String(), Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			answers, err := c.WhoHas(ctx, lab.Client, a)
			if err != nil {
				return false, err.Error()
			}
			if len(answers) == 1 {
				owner = answers[0].Host
			}
			return len(answers) == 1 && owner != "", fmt.Sprintf("%v answer", answers)
		},
	})
	return owner, err
}
