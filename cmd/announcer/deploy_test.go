package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// manifests reads the documents of a manifest, by kind.
func manifests(t *testing.T, file string) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile("../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string][]byte{}
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var head struct{ Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}
		docs[head.Kind] = doc
	}
	return docs
}

func decode[T any](t *testing.T, doc []byte) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict(doc, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func daemonSet(t *testing.T) *appsv1.DaemonSet {
	return decode[appsv1.DaemonSet](t, manifests(t, "21-announcer.yaml")["DaemonSet"])
}

func TestDaemonSetFitsTheProgram(t *testing.T) {
	pod := daemonSet(t).Spec.Template
	c := pod.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = "10.0.0.1" // good for all of them
	}
	o := newOptions(func(name string) string { return env[name] })
	if err := o.complete(); err != nil {
		t.Errorf("the program would not start: %v", err)
	}
	selector, err := labels.Parse(o.podSelector)
	if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
		t.Errorf("members look for %q, but Pods have %v (%v)", o.podSelector, pod.Labels, err)
	}
	for _, p := range c.Ports {
		if p.ContainerPort != int32(o.httpPort) && p.ContainerPort != int32(o.memberPort) {
			t.Errorf("port %s is %d, which the program does not listen on", p.Name, p.ContainerPort)
		}
	}
	var mounts []string
	for _, m := range c.VolumeMounts {
		mounts = append(mounts, m.MountPath)
	}
	if !slices.Contains(mounts, o.keyDir) || !slices.Contains(mounts, o.stateDir) {
		t.Errorf("mounts %v, want %s and %s", mounts, o.keyDir, o.stateDir)
	}
}

func TestDaemonSetAsksForNoMoreThanItNeeds(t *testing.T) {
	pod := daemonSet(t).Spec.Template.Spec
	c := pod.Containers[0]
	want := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(bool),
		ReadOnlyRootFilesystem:   c.SecurityContext.ReadOnlyRootFilesystem,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_RAW"}},
	}
	if diff := cmp.Diff(want, c.SecurityContext); diff != "" || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("security context (-want +got):\n%s", diff)
	}
	if s := pod.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 65532 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod security context: %+v", s)
	}
	if _, limited := c.Resources.Limits[corev1.ResourceCPU]; limited || pod.PriorityClassName != "system-node-critical" {
		t.Error("a program that is held up for moments is taken for dead: no CPU limit, and system-node-critical")
	}
}

// The requests that need these verbs are pinned by the tests of pkg/announce/kube.
func TestRulesAreThoseThatAreUsed(t *testing.T) {
	docs := manifests(t, "20-announcer-rbac.yaml")
	var got []string
	for _, rule := range slices.Concat(decode[rbacv1.ClusterRole](t, docs["ClusterRole"]).Rules, decode[rbacv1.Role](t, docs["Role"]).Rules) {
		got = append(got, strings.Join(rule.Verbs, ",")+" "+strings.Join(rule.Resources, ",")+" "+strings.Join(rule.ResourceNames, ","))
	}
	want := []string{
		"list,watch services,nodes ", "list,watch endpointslices ", "create events ",
		"list,watch configmaps config-live", "list,watch pods ", "list,watch secrets ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for _, kind := range []string{"ClusterRoleBinding", "RoleBinding"} {
		b := decode[rbacv1.RoleBinding](t, docs[kind]) // both have the same fields
		if b.RoleRef.Name != decode[rbacv1.Role](t, docs[b.RoleRef.Kind]).Name || b.Subjects[0].Name != daemonSet(t).Spec.Template.Spec.ServiceAccountName {
			t.Errorf("%s binds %s to %s", kind, b.RoleRef.Name, b.Subjects[0].Name)
		}
	}
}
