package contract

import (
	"slices"
	"testing"
)

func TestFillTitle(t *testing.T) {
	d := Directory{Communities: map[string]Community{"jinghu": {DisplayName: "荆胡社区"}, "chengdong": {}, "odd": {DisplayName: "${device}"}}}
	for _, tc := range []struct {
		title, community, want string
	}{
		{"独居老人超时未外出", "jinghu", "独居老人超时未外出"},
		{"${community}${building}燃气泄漏", "jinghu", "荆胡社区3号楼燃气泄漏"},
		{"Gas leak in ${community}, ${compound}: ${device}", "chengdong", "Gas leak in chengdong, east: sd-1"},
		{"${community} ${community}", "jinghu", "荆胡社区 荆胡社区"},
		{"${community}", "odd", "${device}"}, // what was filled in is not read again
		{"$community ${", "jinghu", "$community ${"},
	} {
		if got := FillTitle(tc.title, d, Device{Community: tc.community, Compound: "east", Building: "3号楼"}, "sd-1"); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.title, got, tc.want)
		}
	}
	if got := FillTitle("[${compound}]", d, Device{Community: "jinghu"}, "sd-1"); got != "[]" {
		t.Errorf("what is not known: %q", got)
	}
	if got := UnknownInTitle("${community} ${street} ${} ${Device} ${device"); !slices.Equal(got, []string{"${street}", "${}", "${Device}", "${device"}) {
		t.Errorf("unknown: %q", got)
	}
}
