//go:build envtest

package controlplane

import (
	"context"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// counted waits until a fleet has taken that many rows, and refused others by their codes.
func counted(t *testing.T, o *v1alpha1.DeviceFleet, accepted int32, codes ...v1alpha1.RowCode) {
	t.Helper()
	eventually(t, "the rows of fleet "+o.Name+" are counted", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		var got []v1alpha1.RowCode
		for _, n := range o.Status.RejectedByCode {
			got = append(got, n.Code)
		}
		if o.Status.Devices == nil || o.Status.Devices.Accepted != accepted || !slices.Equal(got, codes) {
			return fmt.Errorf("devices %+v, rejected by code %+v, want %d accepted and %v", o.Status.Devices, o.Status.RejectedByCode, accepted, codes)
		}
		return nil
	})
}

// A device belongs to the fleet that named it first, whatever the fleets are called, until that one lets go. The other learns neither
// who it is nor anything else of it.
func TestADeviceBelongsToTheFirstFleet(t *testing.T) {
	const home, early, late = "dev-home", "dev-vendor-a", "dev-vendor-z"
	create(t, namespace(home, ""), namespace(early, home), namespace(late, home))
	for _, ns := range []string{home, early, late} {
		admit(t, ns)
	}
	create(t, platform(home, member(early, v1alpha1.MemberVendor), member(late, v1alpha1.MemberVendor)), community(home, "jinghu", "410103014001"))
	row := func(device, serial string) v1alpha1.InventoryRow {
		return v1alpha1.InventoryRow{Device: device, Community: "jinghu", Serial: serial, ClientID: "C-" + serial}
	}
	first, second := fleet(late, "zzz"), fleet(early, "aaa")
	second.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{row("own", "SN-2")}}
	create(t, second) // the older one of the two
	counted(t, second, 1)
	first.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{row("d", "SN-1")}}
	create(t, first)
	counted(t, first, 1)

	patch(t, second, func() { second.Spec.Inventory.Rows = append(second.Spec.Inventory.Rows, row("taken", "SN-1")) })
	counted(t, second, 1, v1alpha1.RowClaimed)
	if got := second.Status.RejectedRows[0]; got.Device != "taken" || got.Reason != "clientID: another fleet of this platform holds it and keeps it until it lets go; correct the row, or have the device taken out there" {
		t.Errorf("got %+v", got)
	}
	won := compile.NewDeviceClaim(compile.ClaimSerial, "SN-1").Record()
	eventually(t, "the holder records what it won", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(first), first); err != nil {
			return err
		}
		if !slices.ContainsFunc(first.Status.Claims, func(c v1alpha1.Claim) bool { return c.Kind == won.Kind && c.Value == won.Value }) {
			return fmt.Errorf("claims are %+v", first.Status.Claims)
		}
		return nil
	})
	counted(t, first, 1)
	if err := c.Delete(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	counted(t, second, 2)
}

// An artefact that may not be fetched makes the fleet wait, and says why; nobody waits with it.
func TestAnArtifactThatCannotBeFetched(t *testing.T) {
	const home = "art-home"
	create(t, namespace(home, ""))
	admit(t, home)
	create(t, platform(home), community(home, "jinghu", "410103014002"))
	o := fleet(home, "artifact")
	o.Spec.Inventory = &v1alpha1.FleetInventory{Artifact: &v1alpha1.InventoryArtifact{
		URL: "https://127.0.0.1:1/devices.csv", SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	}}
	neighbour := fleet(home, "inline")
	neighbour.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "d", Community: "jinghu"}}}
	create(t, o, neighbour)
	expect(t, o, v1alpha1.ConditionInventoryAccepted, metav1.ConditionFalse, v1alpha1.ReasonArtifactUnavailable, "--artifact-allow")
	counted(t, neighbour, 1)
}
