# What is handed out: libstlora.so, libstlora.a, the command, the examples. All of them see the public headers only.
set(rooms base report tensor text formats backend data model optim train api compare)
set(room_libraries)
foreach(room IN LISTS rooms)
  list(APPEND room_libraries $<TARGET_FILE:stlora_${room}>)
  list(APPEND room_targets stlora_${room})
endforeach()
set(system_libraries PkgConfig::JANSSON PkgConfig::ONIG PkgConfig::XXHASH ${UTF8PROC_LIBRARY} Threads::Threads m)

# One relocatable object of all rooms, hidden symbols made local: who links the archive gets what who links the
# shared library gets, the names of include/stlora/ and no others.
add_custom_command(
  OUTPUT ${CMAKE_BINARY_DIR}/stlora.o
  COMMAND ${CMAKE_LINKER} -r --whole-archive ${room_libraries} -o ${CMAKE_BINARY_DIR}/stlora.o
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${CMAKE_BINARY_DIR}/stlora.o
  DEPENDS ${room_targets} ${room_libraries}
  COMMENT "Linking the rooms into one object" VERBATIM)
add_library(stlora STATIC ${CMAKE_BINARY_DIR}/stlora.o)
set_target_properties(stlora PROPERTIES LINKER_LANGUAGE C)
set_source_files_properties(${CMAKE_BINARY_DIR}/stlora.o PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
target_include_directories(stlora PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_link_libraries(stlora PUBLIC ${system_libraries})

add_library(stlora_shared SHARED ${CMAKE_BINARY_DIR}/stlora.o)
set_target_properties(stlora_shared PROPERTIES OUTPUT_NAME stlora LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
add_dependencies(stlora_shared stlora)
target_link_libraries(stlora_shared PRIVATE stlora_flags ${system_libraries})

file(GLOB cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.c)
add_executable(stable-lora ${cli_sources})
target_include_directories(stable-lora PRIVATE ${CMAKE_SOURCE_DIR}/cli)
target_link_libraries(stable-lora PRIVATE stlora_flags stlora PkgConfig::EDIT)

file(GLOB example_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.c)
foreach(source IN LISTS example_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/examples)
  target_link_libraries(${name} PRIVATE stlora_flags stlora)
endforeach()

# The man page is what the command says about itself.
set(man_page ${CMAKE_BINARY_DIR}/stable-lora.1)
add_custom_command(OUTPUT ${man_page}
  COMMAND stable-lora help --man > ${man_page} DEPENDS stable-lora VERBATIM)
add_custom_target(man_page ALL DEPENDS ${man_page})

include(GNUInstallDirs)
file(RELATIVE_PATH up_to_prefix /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(cmake/stlora.pc.in ${CMAKE_BINARY_DIR}/stlora.pc @ONLY)
install(TARGETS stable-lora stlora stlora_shared
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/stlora DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${man_page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${CMAKE_BINARY_DIR}/stlora.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
