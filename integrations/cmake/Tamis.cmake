# Bundles as targets of CMake:
#
#   include(Tamis)
#   tamis_compile(TARGET name RECIPE recipe.yaml
#                 [MODEL model.onnx] [OUTPUT folder] [MACHINE name]
#                 [CALIBRATION samples] [EVALUATION samples] [SET path=value ...] [DEPENDS file ...])
#
# RECIPE is a file, or the name of a shipped recipe (then MODEL is needed). The bundle is built with the default target,
# again whenever something that it reads has changed; its folder is the property TAMIS_BUNDLE of the target.

include_guard(GLOBAL)

if(CMAKE_VERSION VERSION_LESS 3.21)
  message(FATAL_ERROR "tamis_compile needs CMake 3.21, for depfiles with every generator")
endif()

find_program(TAMIS_EXECUTABLE tamis DOC "The command of tamis (pip install tamis)" REQUIRED)

function(tamis_compile)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "TARGET;RECIPE;MODEL;OUTPUT;MACHINE;CALIBRATION;EVALUATION" "SET;DEPENDS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tamis_compile: unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_TARGET OR NOT arg_RECIPE)
    message(FATAL_ERROR "tamis_compile needs TARGET and RECIPE")
  endif()
  if(NOT arg_OUTPUT)
    set(arg_OUTPUT "${arg_TARGET}")
  endif()
  cmake_path(ABSOLUTE_PATH arg_OUTPUT BASE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}" NORMALIZE)

  set(sources ${arg_DEPENDS})
  cmake_path(ABSOLUTE_PATH arg_RECIPE BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE OUTPUT_VARIABLE recipe)
  if(EXISTS "${recipe}")
    list(APPEND sources "${recipe}")
  else()
    set(recipe "${arg_RECIPE}")
  endif()
  if(arg_MODEL)
    cmake_path(ABSOLUTE_PATH arg_MODEL BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
    list(APPEND sources "${arg_MODEL}")
    set(command "${arg_MODEL}" --recipe "${recipe}")
  else()
    set(command "${recipe}")
  endif()
  foreach(role CALIBRATION EVALUATION)
    if(arg_${role})
      cmake_path(ABSOLUTE_PATH arg_${role} BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
      string(TOLOWER "${role}" option)
      list(APPEND command "--${option}" "${arg_${role}}")
    endif()
  endforeach()
  if(arg_MACHINE)
    list(APPEND command --target "${arg_MACHINE}")
  endif()
  foreach(change IN LISTS arg_SET)
    list(APPEND command --set "${change}")
  endforeach()

  # Ninja sees by itself that a bundle was left as it was, and then leaves what depends on it; Make wants it younger.
  set(touch "")
  if(NOT CMAKE_GENERATOR MATCHES "Ninja")
    set(touch COMMAND "${CMAKE_COMMAND}" -E touch_nocreate "${arg_OUTPUT}/bundle.json")
  endif()

  add_custom_command(
    OUTPUT "${arg_OUTPUT}/bundle.json"
    COMMAND "${TAMIS_EXECUTABLE}" compile ${command} --out "${arg_OUTPUT}" --depfile "${arg_OUTPUT}.d" --quiet
    ${touch}
    DEPENDS ${sources}
    DEPFILE "${arg_OUTPUT}.d"
    COMMENT "tamis ${arg_TARGET}"
    VERBATIM)
  add_custom_target(${arg_TARGET} ALL DEPENDS "${arg_OUTPUT}/bundle.json")
  set_target_properties(${arg_TARGET} PROPERTIES TAMIS_BUNDLE "${arg_OUTPUT}")
endfunction()
