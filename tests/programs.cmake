# Tests in Python's standard library: of the built command (tests/cli), and of the house itself (tests/house).
find_program(PYTHON3 python3 REQUIRED)

function(stlora_python_test name)
  string(REGEX MATCH "^valgrind" configuration ${name})
  add_test(NAME ${name} CONFIGURATIONS ${configuration} COMMAND ${PYTHON3} ${ARGN})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77
    ENVIRONMENT "STLORA_BUILD=${CMAKE_BINARY_DIR};STLORA_SOURCE=${CMAKE_SOURCE_DIR};STLORA_SHARED=${STLORA_SHARED};STLORA_SANITIZE=${STLORA_SANITIZE};CC=${CMAKE_C_COMPILER};PYTHONDONTWRITEBYTECODE=1")
endfunction()

file(GLOB cli_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/test_*.py)
foreach(source IN LISTS cli_tests)
  get_filename_component(name ${source} NAME_WE)
  stlora_python_test(cli.${name} ${source})
endforeach()

file(GLOB house_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/house/test_*.py)
foreach(source IN LISTS house_tests)
  get_filename_component(name ${source} NAME_WE)
  stlora_python_test(house.${name} ${source})
endforeach()
stlora_python_test(house.layers ${CMAKE_SOURCE_DIR}/tools/check_layers.py)
if(NOT STLORA_SANITIZE)
  stlora_python_test(valgrind.train ${CMAKE_CURRENT_SOURCE_DIR}/cli/valgrind_train.py)
endif()
