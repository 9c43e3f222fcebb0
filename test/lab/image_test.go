package lab_test

import (
	"os"
	"testing"

	"github.com/herald-lb/herald/test/lab/image"
)

// otherImage is an image that no lab has from the start.
func otherImage(t *testing.T) image.Image {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return image.Image{
		Name: "example.org/other:v2", User: "65532:65532", Entrypoint: []string{"/other"},
		Files: []image.File{{Path: "/other", Source: self, Capabilities: []image.Capability{image.NetRaw}}},
	}
}
