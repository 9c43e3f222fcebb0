package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
)

// soon is how long something may take that Herald does within a second, on a
// machine that runs a whole cluster beside it.
const soon = 10 * time.Second

// workload deploys the web server, and waits until all of it is ready. On pins
// it to a node; "" leaves it to the scheduler.
func (c *cluster) workload(t *testing.T, ns, name string, replicas int32, on string) {
	t.Helper()
	labels := map[string]string{"app": name}
	field := func(env, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: env, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeName:                      on,
					TerminationGracePeriodSeconds: new(int64),
					Containers: []corev1.Container{{
						Name: "web", Image: build.WebImage, ImagePullPolicy: corev1.PullIfNotPresent,
						Env: []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("NODE_NAME", "spec.nodeName")},
						ReadinessProbe: &corev1.Probe{
							ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}},
							PeriodSeconds: 1,
						},
						// It measures how others do, so it must not wait for a CPU itself.
						Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}},
					}},
				},
			},
		},
	}
	_, err := c.Client().AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{})
	c.must(t, err)
	c.rolledOut(t, ns, name)
}

func (c *cluster) rolledOut(t *testing.T, ns, name string) {
	t.Helper()
	_, err := c.Kubectl(t.Context(), "-n", ns, "rollout", "status", "deployment/"+name, "--timeout=60s")
	c.must(t, err)
}

// An option changes a Service before it is created.
type option func(*corev1.Service)

func annotated(key, value string) option {
	return func(s *corev1.Service) { metav1.SetMetaDataAnnotation(&s.ObjectMeta, "herald-lb.io/"+key, value) }
}
func port(n int32) option { return func(s *corev1.Service) { s.Spec.Ports[0].Port = n } }
func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}
func dualStack(s *corev1.Service) {
	policy := corev1.IPFamilyPolicyRequireDualStack
	s.Spec.IPFamilyPolicy = &policy
}
func class(name string) option { return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name } }
func selecting(app string) option {
	return func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": app} }
}

// newService is a LoadBalancer Service for port 80 of the workload "web".
func newService(name string, options ...option) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, o := range options {
		o(s)
	}
	return s
}

// expose creates a LoadBalancer Service.
func (c *cluster) expose(t *testing.T, ns, name string, options ...option) {
	t.Helper()
	_, err := c.Client().CoreV1().Services(ns).Create(t.Context(), newService(name, options...), metav1.CreateOptions{})
	c.must(t, err)
}

func (c *cluster) service(t *testing.T, ns, name string) *corev1.Service {
	t.Helper()
	s, err := c.Client().CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{})
	c.must(t, err)
	return s
}

// patch applies a JSON merge patch to a Service.
func (c *cluster) patch(t *testing.T, ns, name, body string, subresource ...string) {
	t.Helper()
	_, err := c.Client().CoreV1().Services(ns).Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, subresource...)
	c.must(t, err)
}

// shown are the addresses in a Service's status.
func shown(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// addresses waits until a Service has n addresses, and returns them.
func (c *cluster) addresses(t *testing.T, ns, name string, n int) []netip.Addr {
	t.Helper()
	var got []netip.Addr
	eventually(t, soon, fmt.Sprintf("%s/%s has %d addresses", ns, name, n), func() error {
		if got = shown(c.service(t, ns, name)); len(got) != n {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	return got
}

// address waits for a Service's one address.
func (c *cluster) address(t *testing.T, ns, name string) netip.Addr {
	t.Helper()
	return c.addresses(t, ns, name, 1)[0]
}

// condition is the condition by which a Service says why it has no address.
const condition = "herald-lb.io/AddressAllocated"

// pending waits until a Service without an address says why, in its condition
// and in an event, and returns the condition's reason.
func (c *cluster) pending(t *testing.T, ns, name, reason string) {
	t.Helper()
	eventually(t, soon, fmt.Sprintf("%s/%s waits because of %s", ns, name, reason), func() error {
		s := c.service(t, ns, name)
		if got := shown(s); len(got) != 0 {
			return fmt.Errorf("it has %v", got)
		}
		i := slices.IndexFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type == condition })
		if i < 0 {
			return fmt.Errorf("no condition %s: %v", condition, s.Status.Conditions)
		}
		if got := s.Status.Conditions[i]; got.Reason != reason || got.Status != metav1.ConditionFalse || got.Message == "" {
			return fmt.Errorf("condition is %+v", got)
		}
		return c.hasEvent(t.Context(), ns, "Service", name, "AllocationFailed")
	})
}

func (c *cluster) hasEvent(ctx context.Context, ns, kind, name, reason string) error {
	events, err := c.Client().CoreV1().Events(ns).List(ctx, metav1.ListOptions{
		FieldSelector: fmt.Sprintf("involvedObject.kind=%s,involvedObject.name=%s,reason=%s", kind, name, reason),
	})
	if err != nil {
		return err
	}
	if len(events.Items) == 0 {
		return fmt.Errorf("no event %s on %s %s/%s", reason, kind, ns, name)
	}
	return nil
}

// An answer is what the web server says.
type answer struct {
	pod, node string
	client    netip.Addr
}

var answerPattern = regexp.MustCompile(`pod=(\S+) node=(\S+) client=(\S+)`)

// ask asks an address from the client's host, once.
func (c *cluster) ask(ctx context.Context, a netip.Addr, port uint16) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := c.Get(ctx, lab.Client, "http://"+netip.AddrPortFrom(a, port).String()+"/")
	if err != nil {
		return answer{}, err
	}
	m := answerPattern.FindStringSubmatch(body)
	if m == nil {
		return answer{}, fmt.Errorf("answer %q: want pod, node and client", body)
	}
	client, err := netip.ParseAddrPort(m[3])
	if err != nil {
		return answer{}, err
	}
	return answer{pod: m[1], node: m[2], client: client.Addr().Unmap()}, nil
}

// answers waits until an address answers the client, and returns the answer.
func (c *cluster) answers(t *testing.T, a netip.Addr, port uint16) answer {
	t.Helper()
	var got answer
	eventually(t, soon, fmt.Sprintf("%v answers on port %d", a, port), func() (err error) {
		got, err = c.ask(t.Context(), a, port)
		return err
	})
	return got
}

// who asks the LAN once who has an address: a host's name, or "" if nobody does.
// Two who answer are an error.
func (c *cluster) who(t *testing.T, a netip.Addr) (string, error) {
	t.Helper()
	answers, err := c.WhoHas(context.WithoutCancel(t.Context()), lab.Client, a)
	c.must(t, err)
	switch len(answers) {
	case 0:
		return "", nil
	case 1:
		return answers[0].Host, nil
	default:
		return "", fmt.Errorf("%d hosts answer for %v: %v", len(answers), a, answers)
	}
}

// silent waits until nobody answers for an address on the LAN.
func (c *cluster) silent(t *testing.T, a netip.Addr) {
	t.Helper()
	eventually(t, soon, fmt.Sprintf("%v is silent", a), func() error {
		if owner, err := c.who(t, a); err != nil || owner != "" {
			return fmt.Errorf("%s answers (%v)", owner, err)
		}
		return nil
	})
}

// owner waits until exactly one node answers for an address, and names it.
func (c *cluster) owner(t *testing.T, a netip.Addr) string {
	t.Helper()
	var owner string
	eventually(t, soon, fmt.Sprintf("one node answers for %v", a), func() (err error) {
		if owner, err = c.who(t, a); err == nil && owner == "" {
			err = errors.New("nobody answers")
		}
		return err
	})
	return owner
}
