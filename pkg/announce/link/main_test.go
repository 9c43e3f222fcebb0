package link

import (
	"os"
	"testing"

	"github.com/herald-lb/herald/pkg/announce/announcetest"
)

func TestMain(m *testing.M) { os.Exit(announcetest.Main(m)) }
