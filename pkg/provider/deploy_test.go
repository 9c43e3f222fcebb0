package provider

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/herald-lb/herald/pkg/config"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// The flags of ours, as people see them. Renaming one breaks their manifests.
func TestFlags(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "herald-system")
	fs := pflag.NewFlagSet("herald", pflag.ContinueOnError)
	defaultOptions().addFlags(fs)
	want, err := os.ReadFile("testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), fs.FlagUsages()); diff != "" {
		t.Errorf("flags differ (-want +got):\n%s", diff)
	}
}

func TestOptions(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "elsewhere")
	o := defaultOptions()
	if o.Namespace != "elsewhere" || !o.ServeClassless {
		t.Errorf("defaults are %+v", o)
	}
	if err := o.validate(); err != nil {
		t.Error(err)
	}
	o.Namespace = "Not A Name"
	if err := o.validate(); err == nil || !strings.Contains(err.Error(), "--namespace") {
		t.Errorf("a bad namespace gives %v", err)
	}
}

// The manifests decode strictly, use flags that exist, and ask for no more
// than they may.
func TestManifests(t *testing.T) {
	command, err := NewCommand(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../deploy/[01]*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("manifests are %q, %v", files, err)
	}
	for _, file := range files {
		for _, obj := range manifest(t, file) {
			switch o := obj.(type) {
			case *rbacv1.ClusterRole:
				noStars(t, o.Name, o.Rules)
			case *rbacv1.Role:
				noStars(t, o.Name, o.Rules)
			case *appsv1.Deployment:
				for _, arg := range o.Spec.Template.Spec.Containers[0].Args {
					name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
					if command.Flags().Lookup(name) == nil {
						t.Errorf("%s: the command has no flag --%s", file, name)
					}
				}
				restricted(t, &o.Spec.Template.Spec)
			}
		}
	}
}

// noStars checks that rules name what they allow.
func noStars(t *testing.T, name string, rules []rbacv1.PolicyRule) {
	for _, rule := range rules {
		if slices.Contains(slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups), "*") {
			t.Errorf("role %s allows everything of something: %+v", name, rule)
		}
		if slices.Contains(rule.Verbs, "delete") {
			t.Errorf("role %s allows to delete: %+v", name, rule)
		}
	}
}

// restricted checks what the restricted level of Pod Security asks for.
func restricted(t *testing.T, pod *v1.PodSpec) {
	s, c := pod.SecurityContext, pod.Containers[0].SecurityContext
	switch {
	case !*s.RunAsNonRoot, *s.RunAsUser == 0, s.SeccompProfile.Type != v1.SeccompProfileTypeRuntimeDefault,
		*c.AllowPrivilegeEscalation, !*c.ReadOnlyRootFilesystem, !slices.Equal(c.Capabilities.Drop, []v1.Capability{"ALL"}), len(c.Capabilities.Add) > 0,
		pod.HostNetwork, pod.HostPID, len(pod.Volumes) > 0:
		t.Errorf("the pod is not restricted: %+v %+v", s, c)
	}
	if _, limited := pod.Containers[0].Resources.Limits[v1.ResourceCPU]; limited {
		t.Error("the pod's CPU is limited")
	}
}

func TestExampleConfiguration(t *testing.T) {
	for _, obj := range slices.Concat(manifest(t, "../../deploy/examples/config.yaml"), manifest(t, "../../deploy/examples/bgp.yaml")) {
		cm := obj.(*v1.ConfigMap)
		if cm.Name != configName || cm.Namespace != "herald-system" {
			t.Errorf("the example is %s/%s", cm.Namespace, cm.Name)
		}
		if _, err := config.Parse([]byte(cm.Data[documentKey])); err != nil {
			t.Error(err)
		}
	}
	// It must not overwrite the user's when deploy/ is applied again.
	files, _ := filepath.Glob("../../deploy/*.yaml")
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte("kind: ConfigMap")) {
			t.Errorf("%s has a ConfigMap, or %v", file, err)
		}
	}
}
