// Resources of a hardened private LLM inference host.
package llmhost
