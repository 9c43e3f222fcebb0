package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	servicehelper "k8s.io/cloud-provider/service/helpers"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	"k8s.io/utils/ptr"
)

// rig is a controller with the real stock service controller in it, against a
// clientset in memory, in a synctest bubble.
type rig struct {
	t      *testing.T
	client *fake.Clientset
	events *recorder
	*controller
}

// recorder is a record.EventRecorder that keeps what it gets.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Event(obj runtime.Object, kind, reason, message string) {
	r.Eventf(obj, kind, reason, "%s", message)
}

func (r *recorder) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf("%s %s %s: %s", obj.(metav1.Object).GetName(), kind, reason, fmt.Sprintf(format, args...)))
}

func (r *recorder) AnnotatedEventf(obj runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Eventf(obj, kind, reason, format, args...)
}

// take returns the Events since the last time.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

// run runs f in a bubble with a running controller; the objects are there when
// it starts.
func run(t *testing.T, objects []runtime.Object, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(append(objects, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})...)
		r := &rig{t: t, client: client, events: &recorder{}}
		shared := informers.NewSharedInformerFactory(client, 0)
		var err error
		r.controller, err = newController(dependencies{
			options: Options{Namespace: "herald-system", ServeClassless: true}, metrics: newCollectors(),
			writes: client, reports: client, events: client, recorder: r.events, shared: shared,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.run(ctx, 4, controllersmetrics.NewControllerManagerMetrics("test"))
		}()
		shared.Start(ctx.Done())
		defer func() {
			cancel()
			<-done
			shared.Shutdown()
			time.Sleep(time.Minute) // the stock controller's workers end on their own
		}()
		time.Sleep(time.Second) // caches are waited for by polling
		synctest.Wait()
		f(r)
	})
}

func (r *rig) create(svcs ...*v1.Service) {
	r.t.Helper()
	for _, svc := range svcs {
		svc.CreationTimestamp = metav1.Now()
		if _, err := r.client.CoreV1().Services("default").Create(r.t.Context(), svc, metav1.CreateOptions{}); err != nil {
			r.t.Fatal(err)
		}
		synctest.Wait() // Services created at once are served in any order
	}
}

// edit changes a Service as a user would.
func (r *rig) edit(name string, f func(*v1.Service)) {
	r.t.Helper()
	svc := r.get(name)
	f(svc)
	if _, err := r.client.CoreV1().Services("default").Update(r.t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) delete(name string) {
	r.t.Helper()
	if err := r.client.CoreV1().Services("default").Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) get(name string) *v1.Service {
	r.t.Helper()
	svc, err := r.client.CoreV1().Services("default").Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return svc
}

// shows checks the addresses of Services: "name address address".
func (r *rig) shows(want ...string) {
	r.t.Helper()
	var got []string
	for _, w := range want {
		name, _, _ := strings.Cut(w, " ")
		line := name
		for _, a := range shown(r.get(name)) {
			line += " " + a.String()
		}
		got = append(got, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("addresses differ (-want +got):\n%s", diff)
	}
}

// told checks the Events since the last time, by their beginnings.
func (r *rig) told(want ...string) {
	r.t.Helper()
	got := r.events.take()
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		r.t.Errorf("Events are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// configure writes the user's ConfigMap.
func (r *rig) configure(document string, annotations map[string]string) {
	r.t.Helper()
	maps := r.client.CoreV1().ConfigMaps("herald-system")
	cm := userConfig(document)
	cm.Annotations = annotations
	_, err := maps.Create(r.t.Context(), cm, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(r.t.Context(), cm, metav1.UpdateOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// writes returns the writes since the last time, without those to ConfigMaps
// and Secrets.
func (r *rig) wrote() []string {
	var out []string
	for _, a := range r.client.Actions() {
		if patch, ok := a.(clienttesting.PatchAction); ok && a.GetResource().Resource == "services" {
			out = append(out, patch.GetName()+" "+string(patch.GetPatch()))
		}
		if a.GetResource().Resource == "events" {
			out = append(out, "event")
		}
	}
	r.client.ClearActions()
	return out
}

func userConfig(document string) *v1.ConfigMap {
	return &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "herald-system", Name: configName},
		Data:       map[string]string{documentKey: document},
	}
}

// web returns LoadBalancer Services.
func web(names ...string) []*v1.Service {
	var out []*v1.Service
	for _, name := range names {
		out = append(out, loadBalancer(name))
	}
	return out
}

func TestTwoWritesForAService(t *testing.T) {
	run(t, []runtime.Object{userConfig(pool("a", "192.0.2.0/30"))}, func(r *rig) {
		r.told("config Normal ConfigAccepted: Generation 1 is live")
		r.wrote()
		r.create(web("one")...)
		time.Sleep(time.Hour)
		want := []string{
			`one {"metadata":{"finalizers":["service.kubernetes.io/load-balancer-cleanup"]}}`,
			`one {"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.0","ipMode":"VIP"}]}}}`,
		}
		if diff := cmp.Diff(want, r.wrote()); diff != "" {
			t.Errorf("writes differ (-want +got):\n%s", diff)
		}
		r.told()
	})
}

func TestWaiting(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.create(web("one")...)
		time.Sleep(time.Second)
		r.create(web("two")...)
		r.told("one Warning AllocationFailed: Failed to allocate IP for \"default/one\": NoConfiguration: there is no ConfigMap herald-system/config",
			"two Warning AllocationFailed")
		r.configure(pool("a", "192.0.2.0/32"), nil)
		r.shows("one 192.0.2.0", "two")
		events := r.events.take()
		slices.Sort(events)
		r.events.events = events
		r.told("config Normal ConfigAccepted", `one Normal IPAllocated: Assigned IP ["192.0.2.0"]`,
			`two Warning AllocationFailed: Failed to allocate IP for "default/two": PoolExhausted: pool "a" has no free IPv4 address`)
		if hasCondition(r.get("one")) {
			t.Errorf("one still has a condition: %+v", r.get("one").Status.Conditions)
		}
		if c := r.get("two").Status.Conditions; len(c) != 1 || c[0].Reason != "PoolExhausted" || c[0].Status != metav1.ConditionFalse || c[0].Message == "" {
			t.Errorf("conditions of two: %+v", c)
		}
		// The same reason for an hour is told once.
		r.wrote()
		time.Sleep(time.Hour)
		if wrote := r.wrote(); len(wrote) > 0 {
			t.Errorf("waiting writes %q", wrote)
		}
		// The finalizer keeps nothing here: the clientset deletes at once.
		r.delete("one")
		r.shows("two 192.0.2.0")
		r.told("two Normal IPAllocated")
		// What isn't ours any more has no condition of ours.
		r.create(web("three")...)
		r.told("three Warning AllocationFailed")
		r.edit("three", func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeClusterIP })
		if hasCondition(r.get("three")) {
			t.Errorf("three still has a condition: %+v", r.get("three").Status.Conditions)
		}
		r.told()
	})
}

func TestSelectorCounts(t *testing.T) {
	shared := func(app string) func(*v1.Service) {
		return func(s *v1.Service) {
			annotated("metallb.universe.tf/allow-shared-ip", "key")(s)
			s.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal
			s.Spec.Selector = map[string]string{"app": app}
		}
	}
	run(t, []runtime.Object{userConfig(pool("a", "192.0.2.0/32"))}, func(r *rig) {
		r.create(loadBalancer("one", shared("x")))
		r.create(loadBalancer("two", shared("y"), func(s *v1.Service) { s.Spec.Ports[0].Port = 81 }))
		r.shows("one 192.0.2.0", "two")
		r.edit("two", shared("x"))
		r.shows("one 192.0.2.0", "two 192.0.2.0")
		r.edit("two", shared("y"))
		r.shows("one 192.0.2.0", "two")
		r.edit("one", shared("y")) // the holder becomes what the other waits for
		r.shows("one 192.0.2.0", "two 192.0.2.0")
	})
}

func TestRepairs(t *testing.T) {
	run(t, []runtime.Object{userConfig(pool("a", "192.0.2.0/30"))}, func(r *rig) {
		r.create(web("one")...)
		spoil := func() {
			r.edit("one", func(s *v1.Service) { s.Status.LoadBalancer.Ingress[0].IP = "198.51.100.1" })
		}
		restored := func() time.Duration {
			begin := time.Now()
			for shown(r.get("one"))[0].String() != "192.0.2.0" {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			return time.Since(begin).Round(time.Second)
		}
		time.Sleep(5 * time.Second)
		var took []time.Duration
		for range 12 {
			spoil()
			took = append(took, restored())
		}
		if took[0] != time.Second || slices.Max(took) != driftPauseMax || !slices.IsSorted(took) {
			t.Errorf("repairs took %v, want growing pauses from 1s to %v", took, driftPauseMax)
		}
		time.Sleep(time.Hour)
		spoil()
		if last := restored(); last != time.Second {
			t.Errorf("a repair after a quiet hour took %v", last)
		}
		r.edit("one", func(s *v1.Service) { s.Finalizers = nil })
		time.Sleep(10 * time.Minute)
		if !servicehelper.HasLBFinalizer(r.get("one")) {
			t.Error("the finalizer is not restored")
		}
	})
}

// A status that somebody gives to a Service that waits is taken away.
func TestStatusWithoutAddress(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.create(web("one")...)
		r.edit("one", func(s *v1.Service) { s.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: "198.51.100.1"}} })
		time.Sleep(5 * time.Second)
		r.shows("one")
	})
}

func TestRestart(t *testing.T) {
	var objects []runtime.Object
	for i, a := range []string{"192.0.2.0", "192.0.2.1", ""} {
		svc := loadBalancer(fmt.Sprintf("web%d", i), func(s *v1.Service) {
			s.Finalizers = []string{servicehelper.LoadBalancerCleanupFinalizer}
			s.CreationTimestamp = metav1.NewTime(time.Unix(int64(100-i), 0)) // the one that waits is the oldest
			if a != "" {
				s.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: a, IPMode: ptr.To(v1.LoadBalancerIPModeVIP)}}
			}
		})
		objects = append(objects, svc)
	}
	objects = append(objects, userConfig(pool("b", "203.0.113.0/24")), &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "herald-system", Name: liveName,
			Annotations: map[string]string{AnnotationGeneration: "41", AnnotationHash: hash(pool("a", "192.0.2.0/31"))}},
		Data: map[string]string{documentKey: pool("a", "192.0.2.0/31"), classlessKey: "true"},
	})
	run(t, objects, func(r *rig) {
		r.shows("web0 192.0.2.0", "web1 192.0.2.1", "web2")
		events := r.events.take()
		if len(events) != 2 || !slices.ContainsFunc(events, func(e string) bool {
			return strings.HasPrefix(e, "config Warning ConfigRefused: Refused, the last accepted configuration stays live: Service default/web0 would lose 192.0.2.0; Service default/web1")
		}) {
			t.Errorf("Events are %q", events)
		}
		if wrote := r.wrote(); len(wrote) != 1 || !strings.HasPrefix(wrote[0], "web2 ") { // its condition
			t.Errorf("the restart wrote %q", wrote)
		}
		r.configure(pool("b", "203.0.113.0/24"), map[string]string{AnnotationAllowAddressLoss: "true"})
		r.shows("web0 203.0.113.0", "web1 203.0.113.1", "web2 203.0.113.2")
		live, err := r.client.CoreV1().ConfigMaps("herald-system").Get(t.Context(), liveName, metav1.GetOptions{})
		if err != nil || live.Annotations[AnnotationGeneration] != "42" || live.Data[documentKey] != pool("b", "203.0.113.0/24") {
			t.Errorf("live is %+v, %v", live, err)
		}
	})
}

// What the API shows decides when an address is free, not what we asked for.
func TestDraining(t *testing.T) {
	run(t, []runtime.Object{userConfig(pool("a", "192.0.2.0/32"))}, func(r *rig) {
		r.create(web("one", "two")...)
		r.shows("one 192.0.2.0", "two")
		var fail sync.Mutex
		failing := true
		r.client.PrependReactor("patch", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
			fail.Lock()
			defer fail.Unlock()
			return failing, nil, apierrors.NewServiceUnavailable("try again")
		})
		r.edit("one", func(s *v1.Service) { s.Spec.LoadBalancerIP = "198.51.100.9" })
		time.Sleep(4 * time.Second)
		r.shows("one 192.0.2.0", "two")
		if held, _ := r.ledger.holds("default/two"); len(held) > 0 {
			t.Errorf("two holds %v although the API shows it with one", held)
		}
		fail.Lock()
		failing = false
		fail.Unlock()
		time.Sleep(10 * time.Minute)
		r.shows("one", "two 192.0.2.0")
	})
}

func TestMemberlistSecret(t *testing.T) {
	get := func(r *rig) string {
		s, err := r.client.CoreV1().Secrets("herald-system").Get(t.Context(), "memberlist", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(s)
		return string(text)
	}
	run(t, nil, func(r *rig) {
		if !strings.Contains(get(r), `"stringData":{"secretkey":"`) {
			t.Errorf("Secret is %s", get(r))
		}
	})
	mine := &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "herald-system", Name: "memberlist"}, Data: map[string][]byte{"mine": []byte("x")}}
	run(t, []runtime.Object{mine}, func(r *rig) {
		if text := get(r); strings.Contains(text, "secretkey") || !strings.Contains(text, `"mine"`) {
			t.Errorf("a Secret that was there is now %s", text)
		}
	})
}

func TestWrites(t *testing.T) {
	w := newWrites()
	at := func(version string) *v1.Service {
		return &v1.Service{ObjectMeta: metav1.ObjectMeta{UID: types.UID("x"), ResourceVersion: version}}
	}
	if w.after(at("5")) {
		t.Error("without a write, news are old")
	}
	w.note(at("10"))
	for _, version := range []string{"9", "5"} {
		if !w.after(at(version)) {
			t.Errorf("version %s is not older than our write of 10", version)
		}
	}
	if w.after(at("10")) || w.after(at("9")) || len(w.versions) > 0 {
		t.Error("our own write was not seen")
	}
}
