package provider

import "github.com/pulumi/pulumi-go-provider/infer"

func describeAdopt(an infer.Annotator, adopt *bool) {
	an.Describe(adopt, "Take over what exists on the host and isn't llmhost's, instead of refusing it. What was taken over stays on the host when the resource is deleted.")
	an.SetDefault(adopt, false)
}
