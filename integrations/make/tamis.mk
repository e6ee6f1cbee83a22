# Bundles as targets of Make. Include this file, then
#
#   $(eval $(call tamis_bundle,build/model,recipe.yaml,--quiet))
#
# makes build/model/bundle.json of recipe.yaml, again whenever something that it reads has changed.
#
# Arguments of tamis_bundle: the folder of the bundle; a recipe, or a model with -r in the flags; flags of `tamis compile`.

TAMIS ?= tamis

define tamis_bundle
$(1)/bundle.json: $(2)
	@mkdir -p $$(dir $(1))
	$$(TAMIS) compile $(2) --out $(1) --depfile $(1).d $(3)
	@touch -c $$@

-include $(1).d
endef
