package lab

import "testing"

func TestRecipeFollowsTheMachine(t *testing.T) {
	base := machine{image: image{"/cache/a"}, qemuVersion: "QEMU 7.2", accelerator: emulation()}
	if a, b := stateRecipe(base), stateRecipe(base); a != b {
		t.Errorf("one machine has two recipes: %s and %s", a, b)
	}
	moved := base
	moved.image.dir = "/elsewhere"
	if stateRecipe(base) != stateRecipe(moved) {
		t.Error("the place of the cache is in the recipe, so a moved cache is built again")
	}
	newer := base
	newer.qemuVersion = "QEMU 10.0"
	faster := base
	faster.accelerator = kvm()
	other := faster
	other.accelerator.processor = "another processor"
	seen := map[string]string{stateRecipe(base): "the base"}
	for name, m := range map[string]machine{"another QEMU": newer, "KVM": faster, "KVM on another processor": other} {
		r := stateRecipe(m)
		if twin, ok := seen[r]; ok {
			t.Errorf("%s has the recipe of %s: a state would be resumed where it can't be", name, twin)
		}
		seen[r] = name
	}
}

func TestDigestSeparatesItsParts(t *testing.T) {
	if digest("ab", "c") == digest("a", "bc") {
		t.Error("two lists that differ have one digest")
	}
}
